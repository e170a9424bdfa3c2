"""Teachers by name. A new teacher is one file here and one line in this table."""

from ...codecs.kinds import Kinds
from .base import TeacherConfig

# kind -> "module:config class"
TEACHERS: Kinds[type[TeacherConfig]] = Kinds("teacher kind", __name__, {
    "clip_text": "clip_text:ClipTextConfig",
    "envelope": "envelope:EnvelopeConfig",
    "label": "label:LabelConfig",
    "mel": "mel:MelTeacherConfig",
    "picture": "picture:PictureConfig",
    "speech_model": "speech_model:SpeechModelConfig",
    "stored": "stored:StoredConfig",
    "text_ids": "text_ids:TextIdsConfig",
    "text_states": "text_states:TextStatesConfig",
    "tokenizer": "tokenizer:TokenizerTeacherConfig",
    "vision_model": "vision_model:VisionModelConfig",
}, base="base:TeacherConfig")  # fmt: skip
TeacherConfig.kinds = TEACHERS
