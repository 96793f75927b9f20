"""Video files in and out: uint8 RGB frames, decoded and encoded by PyAV.

Decoding streams, so a long file never has to fit in memory. Colours follow FFmpeg's
conversion to rgb24; rotation flags are ignored; a file of variable frame rate is read
frame by frame and carries its average rate.
"""

import contextlib
import dataclasses
import io
import os
from collections.abc import Generator, Iterator
from fractions import Fraction

import av
import numpy as np
from jaxtyping import UInt8

from dit_jax import files
from dit_jax.errors import DataError, UserError

# A file cut short in transfer decodes without an error, only to fewer frames than its
# header says. Edit lists may hide a few frames of a healthy file.
MIN_DECODED_SHARE = 0.9
# Readable by FFmpeg, and yet no video: still images and text drawn as pictures.
NOT_VIDEO_FORMATS = ("_pipe", "image2", "tty")


@dataclasses.dataclass(frozen=True)
class VideoInfo:
    """What a header says. `num_frames` is 0 when the container does not tell."""

    width: int
    height: int
    fps: float
    num_frames: int


def probe(path: files.PathLike) -> VideoInfo:
    """Reads the header only. Errors as in `read_video`."""
    with _open(path) as (_, stream):
        return _info(stream)


def iterate_frames(
    path: files.PathLike,
) -> Generator[UInt8[np.ndarray, "H W 3"], None, None]:
    """Frames in display order, decoded once, one at a time. Errors as `read_video`."""
    count = 0
    with _open(path) as (container, stream):
        declared = stream.frames
        try:
            for frame in container.decode(stream):
                count += 1
                yield frame.to_ndarray(format="rgb24")
        except (av.error.FFmpegError, EOFError) as error:
            raise DataError(
                f"{os.fspath(path)!r} is corrupt: decoding stops after frame {count} "
                f"({_reason(error)}); replace the file or leave it out"
            ) from error
    if count == 0:
        raise DataError(f"{os.fspath(path)!r} holds no frame; leave it out")
    if count < MIN_DECODED_SHARE * declared:
        raise DataError(
            f"{os.fspath(path)!r} is cut short: found {count} of {declared} frames; "
            "replace the file or leave it out"
        )


def read_video(
    path: files.PathLike, *, max_frames: int | None = None
) -> tuple[UInt8[np.ndarray, "F H W 3"], float]:
    """RGB frames and frames per second; at most `max_frames` from the start.

    Raises UserError when the file is missing, DataError when it is empty, corrupt, or
    not a video.
    """
    info = probe(path)
    frames: list[np.ndarray] = []
    with contextlib.closing(iterate_frames(path)) as stream:
        for frame in stream:
            if max_frames is not None and len(frames) >= max_frames:
                break
            frames.append(frame)
    if len({frame.shape for frame in frames}) > 1:
        raise DataError(
            f"{os.fspath(path)!r} changes its frame size along the way; split it into "
            "one file a size"
        )
    return np.stack(frames), info.fps


def write_video(
    path: files.PathLike,
    video: UInt8[np.ndarray, "F H W 3"],
    fps: float | int,
    *,
    crf: int = 12,
) -> None:
    """Writes an mp4 (H.264, yuv420p, which every player reads), whole or not at all.

    yuv420p needs even sizes: an odd last row or column is repeated once. `crf` is
    x264's constant quality, 0 (lossless in yuv420p) to 51.
    """
    if video.shape[0] == 0 or fps <= 0:
        raise ValueError(
            f"cannot write {os.fspath(path)!r}: found {video.shape[0]} frames at {fps} "
            "fps; wanted at least one frame and a positive rate"
        )
    odd = [(0, 0), (0, video.shape[1] % 2), (0, video.shape[2] % 2), (0, 0)]
    video = np.pad(video, odd, mode="edge")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf)})
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in video:
            picture = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(frame), format="rgb24"
            )
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    files.write_bytes(path, buffer.getvalue())


@contextlib.contextmanager
def _open(
    path: files.PathLike,
) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """The container and its first video stream, or one sentence why not."""
    found = files.require(path, "video", "check the path")
    if found.is_dir():
        raise UserError(f"{os.fspath(path)!r} is a folder; name a video file")
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(found.open("rb"))
        if not file.read(1):
            raise DataError(f"{os.fspath(path)!r} is empty (0 bytes); leave it out")
        file.seek(0)
        try:
            container = stack.enter_context(av.open(file))
        except (av.error.FFmpegError, EOFError) as error:
            raise DataError(
                f"{os.fspath(path)!r} is not a readable video ({_reason(error)}); "
                "leave it out or convert it with ffmpeg"
            ) from error
        picture = any(part in container.format.name for part in NOT_VIDEO_FORMATS)
        if picture or not container.streams.video:
            raise DataError(
                f"{os.fspath(path)!r} is not a video (format {container.format.name}, "
                "no moving picture); leave it out"
            )
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield container, stream


def _info(stream: av.VideoStream) -> VideoInfo:
    rate = stream.average_rate or stream.guessed_rate
    if not rate or not stream.width or not stream.height:
        raise DataError(
            f"a video says {stream.width}x{stream.height} at {rate} fps, which is "
            "incomplete; convert it with ffmpeg"
        )
    return VideoInfo(stream.width, stream.height, float(rate), stream.frames)


def _reason(error: Exception) -> str:
    """FFmpeg's own words, without errno and file name."""
    return getattr(error, "strerror", None) or str(error) or "end of file"
