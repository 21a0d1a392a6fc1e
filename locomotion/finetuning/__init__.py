"""Conservative fine-tuning on the robot: small pieces, usable one by one, and the recipe that joins them. docs/finetuning.md"""
