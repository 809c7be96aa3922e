"""From a folder of one's own clips to a model: ``coavt finetune``."""
