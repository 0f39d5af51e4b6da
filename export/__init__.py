"""Programs that turn a workdir into something that serves."""
