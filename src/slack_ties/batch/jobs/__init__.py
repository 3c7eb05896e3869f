"""The engine `jobs`: each task as a job of Hugging Face, with its parents mounted."""
