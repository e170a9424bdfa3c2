"""Teachers by name. One file a kind; a new teacher is one file here and one line in this table."""

# kind -> "module:config class"
TEACHERS: dict[str, str] = {
    "envelope": "envelope:EnvelopeConfig",
    "speech_model": "speech_model:SpeechModelConfig",
    "text_states": "text_states:TextStatesConfig",
    "tokenizer": "tokenizer:TokenizerTeacherConfig",
    "vision_model": "vision_model:VisionModelConfig",
}


def kinds() -> tuple[str, ...]:
    """All names that `teachers: {NAME: {kind: ...}}` takes."""
    return tuple(sorted(TEACHERS))
