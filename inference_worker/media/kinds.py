"""The kinds of recordings that are opened, and the names of those that are not. Pure."""

import re

FORMATS = (
    "wav,w64,aiff,caf,au,flac,mp3,ogg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,flv,mpegts,mpeg,aac,ac3,eac3,amr,asf"
)
"""FFmpeg's names of the containers that are opened. Playlists, session descriptions and the like are not among them:
those make FFmpeg open other files and sockets."""

OPEN = (
    "WAV, W64, AIFF, CAF, AU, FLAC, MP3 and MP2, Ogg, MP4/M4A/MOV/3GP, Matroska/WebM, AVI, FLV, MPEG-TS, MPEG-PS,"
    " AAC, AC-3, E-AC-3, AMR and ASF/WMA"
)

_REFUSED = (
    (rb"wvpk", "WavPack"),
    (rb"MAC ", "Monkey's Audio"),
    (rb"TTA[12]", "True Audio"),
    (rb"MPCK|MP\+", "Musepack"),
    (rb"tBaK", "TAK"),
    (rb"OFR ", "OptimFROG"),
    (rb"ajkg", "Shorten"),
    (rb"LA0[2-4]", "Lossless Audio"),
    (rb"DSD |FRM8", "DSD"),
    (rb"\.RMF|\.ra\xfd", "RealMedia"),
    (rb"Creative Voice File", "VOC"),
    (rb"NIST_1A", "NIST SPHERE"),
    (rb"\x02?#!SILK", "SILK"),
    (rb"\.SoX|XoS\.", "SoX"),
    (rb"\x64\xa3[\0-\x04]\0|\0[\0-\x04]\xa3\x64", "IRCAM"),
    (rb"\x7f\xfe\x80\x01|\xfe\x7f\x01\x80|\xff\x1f\0\xe8|\x1f\xff\xe8\0|DTSHDHDR", "DTS"),
    (rb".{4}\xf8\x72\x6f[\xba\xbb]", "TrueHD"),
    (rb"MThd|RIFF....RMID", "MIDI"),
    (rb"[FCZ]WS[\x01-\x40]", "Flash (SWF)"),
    (rb"\x06\x0e\x2b\x34", "MXF"),
    (rb"nut/multimedia container", "NUT"),
    (rb"DKIF", "IVF"),
    (rb"ZORK|\xaa\x55\x01\0", "ADX"),
    (rb"OMA|ea3\x03|EA3\x01", "ATRAC (OMA)"),
    (rb"\xb7\xd8\0\x20", "WTV"),
    (rb"qoaf", "QOA"),
    (rb"\xff\xd8\xff", "JPEG picture"),
    (rb"\x89PNG", "PNG picture"),
    (rb"GIF8", "GIF picture"),
    (rb"RIFF....WEBP", "WebP picture"),
    (rb"II\*\0|MM\0\*", "TIFF picture"),
    (rb"%PDF", "PDF"),
    (rb"PK[\x03\x05\x07]", "ZIP archive"),
    (rb"\x1f\x8b", "gzip archive"),
    (rb"7z\xbc\xaf", "7z archive"),
    (rb"Rar!", "RAR archive"),
    (rb"\x28\xb5\x2f\xfd", "Zstandard archive"),
    (rb"\s*#EXTM3U", "playlist (M3U)"),
    (rb"\s*\[playlist\]", "playlist (PLS)"),
    (rb"ffconcat", "list of files (ffconcat)"),
    (rb"v=0\r?\n", "session description (SDP)"),
    (rb"(?i:\s*(<!doctype html|<html))", "web page (HTML)"),
    (rb"\s*<", "XML text"),
    (rb"\s*[{\[]\s*[\"{\[\]}\d]", "JSON text"),
)

MP4 = "MP4"

_OPENED = (
    (rb"RIFF....WAVE|RIFX....WAVE|RF64....WAVE|BW64....WAVE", "WAV"),
    (rb"RIFF....AVI", "AVI"),
    (rb"FORM....AIF[FC]", "AIFF"),
    (rb"caff", "CAF"),
    (rb"\.snd", "AU"),
    (rb"fLaC", "FLAC"),
    (rb"OggS", "Ogg"),
    (rb".{4}(ftyp|moov|mdat|wide|free)", MP4),
    (rb"\x1a\x45\xdf\xa3", "Matroska"),
    (rb"FLV\x01", "FLV"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "ASF"),
    (rb"#!AMR", "AMR"),
    (rb"ID3", "MP3"),
)


def _named(table: tuple[tuple[bytes, str], ...], data: bytes) -> str | None:
    head = data[:64]
    return next((name for pattern, name in table if re.match(pattern, head, re.DOTALL)), None)


def complaint(data: bytes, reason: str) -> str:
    """Return why a file that FFmpeg does not open is not heard, and which files are.

    `reason` is FFmpeg's own, for a file that begins as a recording does.
    """
    if refused := _named(_REFUSED, data):
        return f"recordings of kind {refused} are not opened; open are {OPEN}"
    opened = _named(_OPENED, data)
    if opened == MP4 and b"moov" not in data:
        return (
            "the recording is an MP4 without its index (moov), which is written last: it was not finished, or is cut"
            " off; send the whole file"
        )
    if opened:
        return f"the recording begins as {opened} and cannot be read: it is damaged or cut off ({reason})"
    return (
        f"the recording is of an unknown kind, or damaged: it begins with {data[:8].hex(' ')}; open are {OPEN}."
        " Raw PCM samples need a header that tells their rate and format, such as that of WAV"
    )
