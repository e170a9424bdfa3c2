"""BiCodec, the tokenizer of Spark-TTS: ids of the content, and 32 ids of the voice."""
