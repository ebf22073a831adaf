"""Speed against the trainers that users would pick: the same rows, LoRA shape, type and threads, in turn."""
