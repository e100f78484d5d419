"""Many cameras cheaply: one clip, packets made once, each sent on its own at its time. It counts; for faults see simcam."""
