"""Training runs in YAML, found by name: `tokenzoo train image/convnet-debug`."""
