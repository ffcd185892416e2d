"""Fine-tune the base model with the Hugging Face Trainer under DeepSpeed."""
