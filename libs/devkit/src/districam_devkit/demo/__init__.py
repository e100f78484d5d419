"""Runs the whole system on one machine: servers, cameras, services, a live table and a final report."""
