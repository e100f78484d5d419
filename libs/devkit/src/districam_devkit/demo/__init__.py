"""The whole system on one machine: servers, simulated or real cameras, services, a live table, an honest report."""
