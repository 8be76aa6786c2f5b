"""The index components: one behaviour a file, so this listing is the feature list."""
