"""Files written number by number, because no program would write such numbers."""

import struct
import zlib


def box(kind: bytes, *parts: bytes) -> bytes:
    """Return a box of an MP4 (ISO/IEC 14496-12)."""
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def _numbers(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def _sound(codec: bytes) -> bytes:
    """Return the description of mono samples of 16 bits, 16,000 a second."""
    decoder = bytes.fromhex("0319000000040f4015000000000000000000000005021408060102")
    head = bytes(6) + struct.pack(">H", 1) + bytes(8) + struct.pack(">HHHHI", 1, 16, 0, 0, 16_000 << 16)
    return box(codec, head, box(b"esds", bytes(4), decoder) if codec == b"mp4a" else b"")


def mp4(*, samples: int, edits: int = 0, chunks: int = 1, pcm: bool = False, fragment: int | None = None) -> bytes:
    """Return an MP4 of a kilobyte of sound whose tables say how much there is.

    Args:
        samples: in the table of sizes, each of them in each chunk.
        edits: how often all of it is shown.
        chunks: how many there are, all in the same place.
        pcm: of PCM instead of AAC.
        fragment: samples in a fragment, if there is one.
    """
    tables = box(
        b"stbl",
        box(b"stsd", _numbers(0, 1), _sound(b"sowt" if pcm else b"mp4a")),
        box(b"stts", _numbers(0, 1, samples, 1 if pcm else 1024)),
        box(b"stsc", _numbers(0, 1, 1, samples, 1)),
        box(b"stsz", _numbers(0, 2 if pcm else 1, samples)),
        box(b"stco", _numbers(0, chunks), _numbers(32) * chunks),
    )
    place = box(b"dinf", box(b"dref", _numbers(0, 1), box(b"url ", _numbers(1))))
    media = box(
        b"mdia",
        box(b"mdhd", _numbers(0, 0, 0, 16_000, 16_000, 0)),
        box(b"hdlr", bytes(8), b"soun", bytes(14)),
        box(b"minf", box(b"smhd", bytes(8)), place, tables),
    )
    shown = box(b"edts", box(b"elst", _numbers(0, edits), _numbers(1000, 0, 1 << 16) * edits)) if edits else b""
    track = box(b"trak", box(b"tkhd", _numbers(7, 0, 0, 1, 0, 1000), bytes(68)), shown, media)
    more = box(b"mvex", box(b"trex", _numbers(0, 1, 1, 1024, 1, 0)))
    head = box(b"moov", box(b"mvhd", _numbers(0, 0, 0, 1000, 1000), bytes(80)), track, more)
    whole = box(b"ftyp", b"isom", bytes(4), b"isom") + box(b"mdat", bytes(1000)) + head
    if fragment is None:
        return whole
    run = box(b"traf", box(b"tfhd", _numbers(0x38, 1, 1024, 1, 0)), box(b"trun", _numbers(0, fragment)))
    return whole + box(b"moof", box(b"mfhd", _numbers(0, 1)), run) + box(b"mdat", bytes(1000))


def overread(samples: int) -> bytes:
    """Return an MP4 of a fragment of so many samples, whose box ends before it tells how many there are."""
    whole = mp4(samples=0, fragment=samples)
    place = whole.index(b"trun") - 4
    return whole[:place] + struct.pack(">I", 8) + whole[place + 4 :]


def edited(film: bytes, edits: int) -> bytes:
    """Return an MP4 whose header is at its end, with edits of which each shows its first 20 seconds."""
    place = film.index(b"edts") - 4
    size = int.from_bytes(film[place : place + 4])
    shown = box(b"edts", box(b"elst", _numbers(0, edits), _numbers(20_000, 0, 1 << 16) * edits))
    longer = bytearray(film[:place] + shown + film[place + size :])
    for kind in (b"moov", b"trak"):
        start = longer.index(kind) - 4
        struct.pack_into(">I", longer, start, int.from_bytes(longer[start : start + 4]) + len(shown) - size)
    return bytes(longer)


def _element(identity: str, content: bytes) -> bytes:
    """Return an element of a Matroska file (RFC 8794, with a size of eight bytes)."""
    return bytes.fromhex(identity) + (0x01 << 56 | len(content)).to_bytes(8, "big") + content


def matroska(
    rate: float, content: bytes, *, scope: int = 0, private: bytes = b"", tracks: int = 1, blocks: int = 1
) -> bytes:
    """Return a Matroska file that says it lasts a second: blocks of 8-bit PCM, so many samples a second.

    Args:
        rate: samples a second.
        content: of a block.
        scope: what is packed: 1 is the blocks, 2 what the decoder needs.
        private: what the decoder needs.
        tracks: how many there are, all alike.
        blocks: the same.
    """
    head = _element("1A45DFA3", _element("4282", b"matroska") + _element("4287", b"\x04") + _element("4285", b"\x02"))
    told = _element("2AD7B1", (1_000_000).to_bytes(4, "big")) + _element("4489", struct.pack(">d", 1000.0))
    sound = _element("B5", struct.pack(">d", rate)) + _element("9F", b"\x01") + _element("6264", b"\x08")
    kind = _element("83", b"\x02") + _element("86", b"A_PCM/INT/LIT") + _element("E1", sound)
    packing = _element("5032", bytes([scope])) + _element("5034", _element("4254", b"\x00"))
    needed = _element("63A2", private) if private else b""
    packed = _element("6D80", _element("6240", packing)) if scope else b""
    numbers = (_element("D7", bytes([track])) + _element("73C5", bytes([track])) for track in range(1, tracks + 1))
    track = _element("1654AE6B", b"".join(_element("AE", number + kind + needed + packed) for number in numbers))
    block = _element("A3", b"\x81\x00\x00\x80" + content)
    cluster = _element("1F43B675", _element("E7", b"\x00") + block * blocks)
    return head + _element("18538067", _element("1549A966", told) + track + cluster)


def seven_bits(number: int) -> bytes:
    """Return a number as ID3v2.4 writes it: four bytes of seven bits."""
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def id3_frame(kind: bytes, content: bytes, *, version: int = 4, flags: int = 0) -> bytes:
    """Return a frame of an ID3 tag."""
    size = seven_bits(len(content)) if version == 4 else len(content).to_bytes(4, "big")
    return kind + size + flags.to_bytes(2, "big") + content


def id3_packed(kind: bytes, content: bytes, *, told: int | None = None) -> bytes:
    """Return a compressed frame, which says how long its content is."""
    length = seven_bits(len(content)) if told is None else told.to_bytes(4, "big")
    return id3_frame(kind, length + zlib.compress(content, 9), flags=0x09)


def id3_tag(*frames: bytes, version: int = 4, flags: int = 0) -> bytes:
    """Return an ID3 tag."""
    content = b"".join(frames)
    return b"ID3" + bytes([version, 0, flags]) + seven_bits(len(content)) + content


def id3_picture(data: bytes) -> bytes:
    """Return what is in the frame of a cover."""
    return b"\0image/png\0\x03\0" + data


def chunked(recording: bytes, content: bytes) -> bytes:
    """Return a WAV or AIFF file with a chunk of a tag in front of the others."""
    size = struct.pack("<I" if recording.startswith(b"RIFF") else ">I", len(content))
    return recording[:12] + b"ID3 " + size + content + b"\0" * (len(content) % 2) + recording[12:]


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(content)) + content


def progressive(side: int, scans: int) -> bytes:
    """Return a grey JPEG of which every scan after the first says of all blocks that nothing is added (ITU T.81, G)."""
    blocks = (-(-side // 8)) ** 2
    longest_run = 2**15 - 1
    head = _segment(0xDB, b"\0" + b"\1" * 64) + _segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + b"\x01\x11\x00")
    # one code each, of one bit: no difference, and a run of blocks without any more
    codes = _segment(0xC4, b"\x00\x01" + bytes(15) + b"\x00") + _segment(0xC4, b"\x10\x01" + bytes(15) + b"\xe0")
    first = _segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(-(-blocks // 8))
    bits = ("0" + "1" * 14) * -(-blocks // longest_run)
    bits += "1" * (-len(bits) % 8)
    nothing = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    empty = _segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + nothing
    return b"\xff\xd8" + head + codes + first + empty * scans + b"\xff\xd9"


def tiff(*, bits: int, photometric: int, pixels: bytes) -> bytes:
    """Return a grey TIFF of 8 x 8 pixels."""
    kind = [(256, 8), (257, 8), (258, bits), (259, 1), (262, photometric)]
    tags = [*kind, (273, 8), (277, 1), (278, 8), (279, len(pixels))]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(pixels))
    return head + pixels + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


def huge_tiff() -> bytes:
    """Return the header of a TIFF of 60,000 x 60,000 pixels."""
    tags = [(256, 60_000), (257, 60_000), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 60_000), (279, 1)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHI", b"II", 42, 8) + struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)


def wav(samples: bytes, *, rate: int, channels: int) -> bytes:
    """Return a WAV file of 16-bit samples."""
    form = struct.pack("<HHIIHH", 1, channels, rate, 2 * rate * channels, 2 * channels, 16)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def flv_of_key_frames(count: int) -> bytes:
    """Return an FLV file of 20 blocks of PCM, whose metadata says that it has so many key frames (AMF 0, 2.2)."""

    def text(name: bytes) -> bytes:
        return struct.pack(">H", len(name)) + name

    def tag(kind: int, body: bytes) -> bytes:
        return bytes([kind]) + len(body).to_bytes(3, "big") + bytes(7) + body + struct.pack(">I", len(body) + 11)

    lists = b"".join(
        text(name) + b"\x0a" + struct.pack(">I", count) + (b"\0" + struct.pack(">d", 1.0)) * 50
        for name in (b"times", b"filepositions")
    )
    frames = text(b"keyframes") + b"\x03" + lists + b"\0\0\x09"
    metadata = b"\x02" + text(b"onMetaData") + b"\x08" + struct.pack(">I", 1) + frames + b"\0\0\x09"
    return b"FLV\1\4" + struct.pack(">I", 9) + bytes(4) + tag(18, metadata) + tag(8, b"\x72" + bytes(1000)) * 20


def transport_stream(tracks: int) -> bytes:
    """Return an MPEG-TS of so many tracks of AC-3, each with one packet of rubbish (ISO/IEC 13818-1, 2.4)."""

    def packet(pid: int, content: bytes) -> bytes:
        stuffing = 183 - len(content)
        field = bytes([stuffing]) + (b"\0" + b"\xff" * (stuffing - 1) if stuffing else b"")
        return struct.pack(">BHB", 0x47, 0x4000 | pid, 0x30) + field + content

    def section(table: int, content: bytes) -> bytes:
        whole = bytes([table]) + struct.pack(">H", 0xB000 | len(content) + 4) + content
        return b"\0" + whole + struct.pack(">I", _crc(whole))

    pids = range(100, 100 + tracks)
    programs = [pids[place : place + 30] for place in range(0, tracks, 30)]
    sound = b"\0\0\1\xc0\0\0\x80\x80\5\x21\0\1\0\1" + b"\xff" * 160
    packets = []
    for number, program in enumerate(programs, start=1):
        listed = struct.pack(">HBBBHH", 1, 0xC1, 0, 0, number, 0xE000 | 7000 + number)
        tables = struct.pack(">HBBBHH", number, 0xC1, 0, 0, 0xE000 | program[0], 0xF000)
        tables += b"".join(struct.pack(">BHH", 0x81, 0xE000 | pid, 0xF000) for pid in program)
        packets += [packet(0, section(0, listed)), packet(7000 + number, section(2, tables))]
        packets += [packet(pid, sound) for pid in program]
    return b"".join(packets)


def _crc(data: bytes) -> int:
    """Return the checksum of a section of MPEG-TS: CRC-32 with its bits the other way round than zlib's."""
    value = 0xFFFF_FFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C1_1DB7 if value >> 31 else value << 1) & 0xFFFF_FFFF
    return value


def avi(*chunks: bytes, streams: int = 1) -> bytes:
    """Return an AVI file of a second of mu-law, with these chunks behind the format of each of its streams."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content

    head = chunk(b"avih", struct.pack("<14I", 40_000, 0, 0, 16, 10, 0, streams, 0, 0, 0, 0, 0, 0, 0))
    track = chunk(b"strh", b"auds" + struct.pack("<11I8x", 0, 0, 0, 0, 1, 8000, 0, 8000, 0, 2**32 - 1, 1))
    form = chunk(b"strf", struct.pack("<HHIIHHH", 7, 1, 8000, 8000, 1, 8, 0))
    tracks = chunk(b"LIST", b"strl" + track + form + b"".join(chunks)) * streams
    content = b"AVI " + chunk(b"LIST", b"hdrl" + head + tracks)
    return chunk(b"RIFF", content + chunk(b"LIST", b"movi" + chunk(b"00wb", b"\x80" * 8000)))


def wav_of_texts(recording: bytes, length: int) -> bytes:
    """Return a WAV file with a text in front of its sound that says it is so long, as does the list it is in."""
    texts = b"LIST" + struct.pack("<I", length) + b"INFOISFT" + struct.pack("<I", length - 12)
    return recording[:12] + texts + recording[12:]
