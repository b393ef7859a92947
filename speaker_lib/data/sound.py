"""Stand-in until the real module is merged."""


def is_audio(path) -> bool:
    import soundfile

    try:
        with soundfile.SoundFile(path):
            return True
    except (soundfile.SoundFileError, TypeError, ValueError, OSError):
        return False
