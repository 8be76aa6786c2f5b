"""Several processes that serve one port and one store: a supervisor, and the workers that it spawns.

The supervisor binds the socket, holds the store and its lock, keeps it in order after a worker that died, and watches
the configuration; it answers no request. Each worker is the daemon of `app`, beside a store that is not its own. They
are spawned, never forked, and talk over a socket pair each. When the supervisor dies, the kernel ends its workers.
"""
