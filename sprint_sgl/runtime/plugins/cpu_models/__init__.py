"""The models that a CPU runtime registers with SGLang, which otherwise imports the files of all its models."""
