"""H.264 SPS (ITU-T H.264 sections 7.3.2.1.1 and E.1.1) and avcC (ISO/IEC 14496-15 section 5.3.3).

The comments name the syntax elements that are read or skipped.
"""

from collections.abc import Sequence

from districam_ingest.codec.nal import (
    BitReader,
    BitstreamError,
    Codec,
    encode_parameter_sets,
    remove_emulation_prevention,
)
from districam_ingest.codec.video_parameters import (
    MAX_REORDER_DEPTH,
    VideoParameters,
    check_chroma_format,
    compute_bit_depth,
    compute_cropped_size,
    compute_fps,
)

_HIGH_PROFILES = {100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135}
"""Values of profile_idc with which an SPS holds chroma_format_idc (section 7.3.2.1.1)."""
_AVCC_EXTENDED = {100, 110, 122, 144, 244}
"""Values of AVCProfileIndication with which avcC ends with chroma format and bit depths."""
_EXTENDED_SAR = 255  # aspect_ratio_idc (table E-1)


def parse_video_parameters(parameter_sets: Sequence[bytes]) -> VideoParameters:
    """Parses the first SPS among `parameter_sets`.

    Raises:
        BitstreamError: no SPS, or malformed before the end of the frame cropping. A malformed VUI is ignored.
    """
    sps = next((nal for nal in parameter_sets if nal[0] & 31 == 7), None)
    if sps is None or len(sps) < 4:
        raise BitstreamError("no H.264 sequence parameter set")
    bits = BitReader(remove_emulation_prevention(sps)[1:])
    profile, compatibility, level = bits.u(8), bits.u(8), bits.u(8)  # profile_idc, constraint_set*, level_idc
    bits.ue()  # seq_parameter_set_id
    chroma, separate_planes = _parse_chroma(bits) if profile in _HIGH_PROFILES else (1, False)
    _skip_picture_order(bits)
    width, height, has_fields = _parse_size(bits, 0 if separate_planes else chroma)
    fps, reorder = _parse_vui(bits)
    if reorder is None:
        reorder = 0 if profile == 66 else None  # Baseline has no B slices (section A.2.1)
    return VideoParameters(
        codec="h264",
        codecs=f"avc1.{profile:02x}{compatibility:02x}{level:02x}",
        width=width,
        height=height,
        fps=fps,
        reorder_depth=reorder,
        has_fields=has_fields,
    )


def may_have_fields(codec: Codec, parameter_sets: Sequence[bytes]) -> bool:
    """Whether a coded picture may be one field of a frame; True also for H.264 without a readable SPS."""
    try:
        return codec == "h264" and parse_video_parameters(parameter_sets).has_fields
    except BitstreamError:
        return True


def _parse_chroma(bits: BitReader) -> tuple[int, bool]:
    """chroma_format_idc, and whether the three colour planes are coded separately."""
    chroma = check_chroma_format(bits.ue())  # chroma_format_idc
    separate = chroma == 3 and bits.flag()  # separate_colour_plane_flag
    bits.ue()  # bit_depth_luma_minus8
    bits.ue()  # bit_depth_chroma_minus8
    bits.u(1)  # qpprime_y_zero_transform_bypass_flag
    if bits.flag():  # seq_scaling_matrix_present_flag
        for index in range(8 if chroma != 3 else 12):
            if bits.flag():  # seq_scaling_list_present_flag
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return chroma, separate


def _skip_scaling_list(bits: BitReader, size: int) -> None:
    """scaling_list (section 7.3.2.1.1.1); `last` and `following` are its lastScale and nextScale."""
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256  # delta_scale
        last = following or last


def _skip_picture_order(bits: BitReader) -> None:
    bits.ue()  # log2_max_frame_num_minus4
    kind = bits.ue()  # pic_order_cnt_type
    if kind == 0:
        bits.ue()  # log2_max_pic_order_cnt_lsb_minus4
    elif kind == 1:
        bits.u(1)  # delta_pic_order_always_zero_flag
        bits.se()  # offset_for_non_ref_pic
        bits.se()  # offset_for_top_to_bottom_field
        for _ in range(bits.ue()):  # num_ref_frames_in_pic_order_cnt_cycle
            bits.se()  # offset_for_ref_frame
    bits.ue()  # max_num_ref_frames
    bits.u(1)  # gaps_in_frame_num_value_allowed_flag


def _parse_size(bits: BitReader, chroma: int) -> tuple[int, int, bool]:
    """Width and height in pixels after cropping, and whether pictures may be fields."""
    width = (bits.ue() + 1) * 16  # pic_width_in_mbs_minus1
    rows = bits.ue() + 1  # pic_height_in_map_units_minus1
    frames_only = bits.u(1)  # frame_mbs_only_flag
    height = rows * 16 * (2 - frames_only)
    if not frames_only:
        bits.u(1)  # mb_adaptive_frame_field_flag
    bits.u(1)  # direct_8x8_inference_flag
    fields = 2 - frames_only
    edges = (0, 0, 0, 0)
    if bits.flag():  # frame_cropping_flag; then frame_crop_left_offset, …_right_…, …_top_…, …_bottom_…
        edges = (bits.ue(), bits.ue(), bits.ue() * fields, bits.ue() * fields)
    return *compute_cropped_size(width, height, chroma, edges), not frames_only


def _parse_vui(bits: BitReader) -> tuple[float | None, int | None]:
    """Frame rate and reorder depth from the VUI; None if absent, or malformed, as some cameras send it."""
    fps: float | None = None
    try:
        if not bits.flag():  # vui_parameters_present_flag
            return None, None
        _skip_to_timing(bits)
        if bits.flag():  # timing_info_present_flag
            tick, scale = bits.u(32), bits.u(32)  # num_units_in_tick, time_scale
            fps = compute_fps(scale, 2 * tick)  # a tick is a field (section E.2.1)
            bits.u(1)  # fixed_frame_rate_flag
        return fps, _parse_reorder_depth(bits)
    except BitstreamError:
        return fps, None


def _skip_to_timing(bits: BitReader) -> None:
    """vui_parameters (section E.1.1) up to timing_info_present_flag."""
    if bits.flag() and bits.u(8) == _EXTENDED_SAR:  # aspect_ratio_info_present_flag, aspect_ratio_idc
        bits.u(32)  # sar_width, sar_height
    if bits.flag():  # overscan_info_present_flag
        bits.u(1)  # overscan_appropriate_flag
    if bits.flag():  # video_signal_type_present_flag
        bits.u(4)  # video_format, video_full_range_flag
        if bits.flag():  # colour_description_present_flag
            bits.u(24)  # colour_primaries, transfer_characteristics, matrix_coefficients
    if bits.flag():  # chroma_loc_info_present_flag
        bits.ue()  # chroma_sample_loc_type_top_field
        bits.ue()  # chroma_sample_loc_type_bottom_field


def _parse_reorder_depth(bits: BitReader) -> int | None:
    # nal_hrd_parameters_present_flag, vcl_hrd_parameters_present_flag
    has_hrd = [_skip_hrd(bits) if bits.flag() else False for _ in range(2)]
    if any(has_hrd):
        bits.u(1)  # low_delay_hrd_flag
    bits.u(1)  # pic_struct_present_flag
    if not bits.flag():  # bitstream_restriction_flag
        return None
    bits.u(1)  # motion_vectors_over_pic_boundaries_flag
    for _ in range(4):  # max_bytes_per_pic_denom, max_bits_per_mb_denom, log2_max_mv_length_*
        bits.ue()
    reorder = bits.ue()  # max_num_reorder_frames
    return reorder if reorder <= MAX_REORDER_DEPTH else None


def _skip_hrd(bits: BitReader) -> bool:
    """hrd_parameters (section E.1.2)."""
    count = bits.ue() + 1  # cpb_cnt_minus1
    bits.u(8)  # bit_rate_scale, cpb_size_scale
    for _ in range(count):
        bits.ue()  # bit_rate_value_minus1
        bits.ue()  # cpb_size_value_minus1
        bits.u(1)  # cbr_flag
    # initial_cpb_removal_delay_length_minus1, cpb_removal_delay_length_minus1,
    # dpb_output_delay_length_minus1, time_offset_length
    bits.u(20)
    return True


def encode_avcc(parameter_sets: Sequence[bytes]) -> bytes:
    """The AVCDecoderConfigurationRecord of `parameter_sets` (SPS and PPS), with four-byte NAL unit lengths.

    Raises:
        BitstreamError: a set is missing or malformed.
    """
    sps = [nal for nal in parameter_sets if nal[0] & 31 == 7]
    pps = [nal for nal in parameter_sets if nal[0] & 31 == 8]
    if not sps or not pps or len(sps[0]) < 4:
        raise BitstreamError("SPS or PPS is missing")
    # configurationVersion, AVCProfileIndication, profile_compatibility, AVCLevelIndication;
    # lengthSizeMinusOne is 3
    head = bytes([1, sps[0][1], sps[0][2], sps[0][3], 0xFF])
    body = (
        head
        + encode_parameter_sets(sps, count_bytes=1, max_count=31, flags=0xE0)
        + encode_parameter_sets(pps, count_bytes=1, max_count=255)
    )
    if sps[0][1] not in _AVCC_EXTENDED:
        return body
    bits = BitReader(remove_emulation_prevention(sps[0])[4:])
    bits.ue()  # seq_parameter_set_id
    chroma = check_chroma_format(bits.ue())  # chroma_format_idc
    if chroma == 3:
        bits.u(1)  # separate_colour_plane_flag
    # bit_depth_luma_minus8, bit_depth_chroma_minus8
    luma_bits, chroma_bits = compute_bit_depth(bits.ue()), compute_bit_depth(bits.ue())
    # the same three, and numOfSequenceParameterSetExt
    return body + bytes([0xFC | chroma, 0xF8 | (luma_bits - 8), 0xF8 | (chroma_bits - 8), 0])
