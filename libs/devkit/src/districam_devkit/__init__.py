"""Development tools to run and test districam on one machine. No service imports it."""
