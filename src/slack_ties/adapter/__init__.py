"""LoRA adapters: whether PEFT applies them as they were trained."""
