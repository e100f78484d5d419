"""The only writers of the index in Redis: batches, eviction, state of a build, usage counts."""
