"""A simulator of TWS: its socket protocol over loopback, a durable book behind it, and trouble on demand."""
