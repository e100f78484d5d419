"""Decodes untrusted video in child processes: `decoder_process` and `sandbox` run there, `decoder_pool` in the service."""
