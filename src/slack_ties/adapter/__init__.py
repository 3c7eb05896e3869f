"""Check that PEFT applies LoRA adapters as they were trained."""
