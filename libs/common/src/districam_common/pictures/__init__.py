"""Decoding of foreign video in child processes: `confinement` and `child` run there, `children` in the service."""
