"""What turns HTTP into questions to an Index, and its answers into HTTP: a family of routes a file."""
