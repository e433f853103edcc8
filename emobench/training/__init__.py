"""Work: fine-tuning through the Hugging Face Trainer."""
