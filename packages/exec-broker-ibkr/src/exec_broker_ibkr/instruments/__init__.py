"""Instruments of ours and contracts of IB's: asked for, chosen, named, priced. `catalogue` asks and remembers."""
