"""A simulator of Kite Connect: its HTTP interface over loopback, a durable book behind it, and trouble on demand.

``python -m exec_broker_zerodha.simulator`` runs it; in the same event loop: `server.Simulator`, and `desk.Desk` for
what people do there. It knows nothing of the adapter: the two meet at the wire. Needs the extra ``testing``.
"""
