"""File name endings of media in folders and tar files. A file that is passed by its path may have any ending."""

AUDIO_ENDINGS = (
    *(".wav", ".wave", ".w64", ".rf64", ".aiff", ".aif", ".aifc", ".caf", ".au", ".snd"),
    *(".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aac", ".g722"),
)  # fmt: skip
IMAGE_ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".avif", ".jp2"),
)  # fmt: skip
#: Of films; animations have endings of pictures.
VIDEO_ENDINGS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
#: Endings by modality.
ENDINGS = {"audio": AUDIO_ENDINGS, "image": IMAGE_ENDINGS}


def endings_of(modality: str, *, films: bool = False) -> tuple[str, ...]:
    """Endings of files of a modality, of pictures with those of `films`; () for features of networks."""
    return (*ENDINGS.get(modality, ()), *(VIDEO_ENDINGS if films and modality == "image" else ()))


def is_film(name: str) -> bool:
    """True where the name of a file ends as films do."""
    return name.lower().endswith(VIDEO_ENDINGS)
