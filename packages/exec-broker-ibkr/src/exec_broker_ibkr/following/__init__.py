"""What TWS says of orders, made into the core's reports: pure. `tracking` hears, `tracing` looks one order up."""
