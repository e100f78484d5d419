"""H.265 SPS (ITU-T H.265 sections 7.3.2.2 and E.2.1) and hvcC (ISO/IEC 14496-15 section 8.3.3).

The comments name the syntax elements that are read or skipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from districam_ingest.codec.nal import BitReader, BitstreamError, encode_parameter_sets, remove_emulation_prevention
from districam_ingest.codec.video_parameters import (
    MAX_REORDER_DEPTH,
    VideoParameters,
    check_chroma_format,
    compute_bit_depth,
    compute_cropped_size,
    compute_fps,
)

_VPS, _SPS, _PPS = 32, 33, 34  # nal_unit_type (table 7-1)
_EXTENDED_SAR = 255  # aspect_ratio_idc (table E.1)


@dataclass(frozen=True, slots=True)
class _Sps:
    profile_tier_level: bytes  # its general part, 12 bytes, up to general_level_idc
    layers: int
    nested: int
    chroma: int
    width: int
    height: int
    luma_bits: int
    chroma_bits: int
    reorder_depth: int
    fps: float | None


def _nal_type(nal: bytes) -> int:
    return (nal[0] >> 1) & 63


def _parse_sps(parameter_sets: Sequence[bytes]) -> _Sps:
    sps = next((nal for nal in parameter_sets if _nal_type(nal) == _SPS), None)
    if sps is None or len(sps) < 16:
        raise BitstreamError("no H.265 sequence parameter set")
    body = remove_emulation_prevention(sps)[2:]  # after nal_unit_header
    sub_layers = (body[0] >> 1) & 7  # sps_max_sub_layers_minus1, after sps_video_parameter_set_id
    bits = BitReader(body[13:])
    _skip_sub_layers(bits, sub_layers)
    bits.ue()  # sps_seq_parameter_set_id
    chroma = check_chroma_format(bits.ue())  # chroma_format_idc
    separate = chroma == 3 and bits.flag()  # separate_colour_plane_flag
    width, height = _parse_size(bits, 0 if separate else chroma)
    luma = compute_bit_depth(bits.ue())  # bit_depth_luma_minus8
    chroma_bits = compute_bit_depth(bits.ue())  # bit_depth_chroma_minus8
    poc_bits = bits.ue() + 4  # log2_max_pic_order_cnt_lsb_minus4
    reorder_depth = 0
    for _ in range(sub_layers + 1 if bits.flag() else 1):  # sps_sub_layer_ordering_info_present_flag
        bits.ue()  # sps_max_dec_pic_buffering_minus1
        reorder_depth = bits.ue()  # sps_max_num_reorder_pics
        bits.ue()  # sps_max_latency_increase_plus1
    if reorder_depth > MAX_REORDER_DEPTH:
        raise BitstreamError(f"reorder depth {reorder_depth} exceeds {MAX_REORDER_DEPTH}")
    fps = _parse_frame_rate(bits, poc_bits)
    nested = body[0] & 1  # sps_temporal_id_nesting_flag
    return _Sps(body[1:13], sub_layers + 1, nested, chroma, width, height, luma, chroma_bits, reorder_depth, fps)


def _skip_sub_layers(bits: BitReader, count: int) -> None:
    """The sub-layers of profile_tier_level (section 7.3.3)."""
    # sub_layer_profile_present_flag, sub_layer_level_present_flag
    present = [(bits.flag(), bits.flag()) for _ in range(count)]
    if count:
        bits.u(2 * (8 - count))  # reserved_zero_2bits
    for profile, level in present:
        bits.u((88 if profile else 0) + (8 if level else 0))  # profile and tier; sub_layer_level_idc


def _parse_size(bits: BitReader, chroma: int) -> tuple[int, int]:
    width, height = bits.ue(), bits.ue()  # pic_width_in_luma_samples, pic_height_in_luma_samples
    # conformance_window_flag; conf_win_left_offset, …_right_…, …_top_…, …_bottom_…
    edges = (bits.ue(), bits.ue(), bits.ue(), bits.ue()) if bits.flag() else (0, 0, 0, 0)
    return compute_cropped_size(width, height, chroma, edges)


def _parse_frame_rate(bits: BitReader, poc_bits: int) -> float | None:
    """Pictures per second by the VUI's timing; None if it is absent or, as some cameras send, malformed."""
    try:
        _skip_to_vui(bits, poc_bits)
        if not bits.flag():  # vui_parameters_present_flag
            return None
        _skip_to_timing(bits)
        if not bits.flag():  # vui_timing_info_present_flag
            return None
        tick, scale = bits.u(32), bits.u(32)  # vui_num_units_in_tick, vui_time_scale
    except BitstreamError:
        return None
    return compute_fps(scale, tick)  # a tick is a picture (section E.3.1); H.264's is a field


def _skip_to_vui(bits: BitReader, poc_bits: int) -> None:
    """The SPS up to vui_parameters_present_flag; `poc_bits` is the length of lt_ref_pic_poc_lsb_sps."""
    for _ in range(6):  # log2_min_luma_coding_block_size_minus3 … max_transform_hierarchy_depth_intra
        bits.ue()
    if bits.flag() and bits.flag():  # scaling_list_enabled_flag, sps_scaling_list_data_present_flag
        _skip_scaling_lists(bits)
    bits.u(2)  # amp_enabled_flag, sample_adaptive_offset_enabled_flag
    if bits.flag():  # pcm_enabled_flag
        bits.u(8)  # pcm_sample_bit_depth_luma_minus1, …_chroma_minus1
        bits.ue()  # log2_min_pcm_luma_coding_block_size_minus3
        bits.ue()  # log2_diff_max_min_pcm_luma_coding_block_size
        bits.u(1)  # pcm_loop_filter_disabled_flag
    _skip_reference_sets(bits)
    if bits.flag():  # long_term_ref_pics_present_flag
        for _ in range(bits.ue()):  # num_long_term_ref_pics_sps
            bits.u(poc_bits + 1)  # lt_ref_pic_poc_lsb_sps, used_by_curr_pic_lt_sps_flag
    bits.u(2)  # sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag


def _skip_scaling_lists(bits: BitReader) -> None:
    """scaling_list_data (section 7.3.4)."""
    for size_id in range(4):
        for _ in range(2 if size_id == 3 else 6):  # matrixId
            if not bits.flag():  # scaling_list_pred_mode_flag
                bits.ue()  # scaling_list_pred_matrix_id_delta
                continue
            if size_id > 1:
                bits.se()  # scaling_list_dc_coef_minus8
            for _ in range(min(64, 16 << 2 * size_id)):
                bits.se()  # scaling_list_delta_coef


def _skip_reference_sets(bits: BitReader) -> None:
    """The st_ref_pic_set structures (section 7.3.7); each may be predicted from the previous one."""
    distances: list[int] = []
    for index in range(bits.ue()):  # num_short_term_ref_pic_sets; `BitReader` bounds it
        predicted = index > 0 and bits.flag()  # inter_ref_pic_set_prediction_flag
        distances = _parse_predicted_set(bits, distances) if predicted else _parse_explicit_set(bits)


def _parse_explicit_set(bits: BitReader) -> list[int]:
    """POC deltas of a set's references in the order of section 7.4.8: DeltaPocS0, then DeltaPocS1."""
    counts = bits.ue(), bits.ue()  # num_negative_pics, num_positive_pics
    out: list[int] = []
    for sign, count in zip((-1, 1), counts, strict=True):
        distance = 0
        for _ in range(count):
            distance += sign * (bits.ue() + 1)  # delta_poc_s0_minus1, delta_poc_s1_minus1
            bits.u(1)  # used_by_curr_pic_s0_flag, used_by_curr_pic_s1_flag
            out.append(distance)
    return out


def _parse_predicted_set(bits: BitReader, before: list[int]) -> list[int]:
    """POC deltas of a set coded as a difference from the previous set, `before` (equations 7-61 and 7-62)."""
    is_negative = bits.flag()  # delta_rps_sign
    delta = (bits.ue() + 1) * (-1 if is_negative else 1)  # abs_delta_rps_minus1
    kept: list[int] = []
    for distance in (*(one + delta for one in before), delta):
        is_kept = bits.flag() or bits.flag()  # used_by_curr_pic_flag; use_delta_flag if that is 0
        if is_kept and distance:
            kept.append(distance)
    return sorted((one for one in kept if one < 0), reverse=True) + sorted(one for one in kept if one > 0)


def _skip_to_timing(bits: BitReader) -> None:
    """vui_parameters (section E.2.1) up to vui_timing_info_present_flag."""
    if bits.flag() and bits.u(8) == _EXTENDED_SAR:  # aspect_ratio_info_present_flag, aspect_ratio_idc
        bits.u(32)  # sar_width, sar_height
    if bits.flag():  # overscan_info_present_flag
        bits.u(1)  # overscan_appropriate_flag
    if bits.flag():  # video_signal_type_present_flag
        bits.u(4)  # video_format, video_full_range_flag
        if bits.flag():  # colour_description_present_flag
            bits.u(24)  # colour_primaries, transfer_characteristics, matrix_coeffs
    if bits.flag():  # chroma_loc_info_present_flag
        bits.ue()  # chroma_sample_loc_type_top_field
        bits.ue()  # chroma_sample_loc_type_bottom_field
    bits.u(3)  # neutral_chroma_indication_flag, field_seq_flag, frame_field_info_present_flag
    if bits.flag():  # default_display_window_flag
        for _ in range(4):  # def_disp_win_*_offset
            bits.ue()


def parse_video_parameters(parameter_sets: Sequence[bytes]) -> VideoParameters:
    """Parses the first SPS among `parameter_sets`; the codec string follows ISO/IEC 14496-15 annex E.

    Raises:
        BitstreamError: no SPS, or malformed before its VUI. A malformed VUI is ignored.
    """
    sps = _parse_sps(parameter_sets)
    ptl = sps.profile_tier_level
    compatibility = int(f"{int.from_bytes(ptl[1:5], 'big'):032b}"[::-1], 2)  # general_profile_compatibility_flag
    constraints = "".join(f".{byte:X}" for byte in ptl[5:11].rstrip(b"\0"))  # from general_progressive_source_flag on
    space = ["", "A", "B", "C"][ptl[0] >> 6]  # general_profile_space
    tier = "LH"[ptl[0] >> 5 & 1]  # general_tier_flag
    return VideoParameters(
        codec="hevc",
        codecs=f"hvc1.{space}{ptl[0] & 31}.{compatibility:X}.{tier}{ptl[11]}{constraints}",
        width=sps.width,
        height=sps.height,
        fps=sps.fps,
        reorder_depth=sps.reorder_depth,
    )


def encode_hvcc(parameter_sets: Sequence[bytes]) -> bytes:
    """The HEVCDecoderConfigurationRecord of `parameter_sets`, with four-byte NAL unit lengths.

    It holds VPS, SPS and PPS only: an encoder's SEI would enlarge every record.

    Raises:
        BitstreamError: a set is missing or malformed.
    """
    sps = _parse_sps(parameter_sets)
    by_kind = [(kind, [nal for nal in parameter_sets if _nal_type(nal) == kind]) for kind in (_VPS, _SPS, _PPS)]
    if not all(nals for _, nals in by_kind):
        raise BitstreamError("VPS, SPS or PPS is missing")
    # configurationVersion, profile to level, min_spatial_segmentation_idc, parallelismType: both 0, unknown
    head = bytes([1]) + sps.profile_tier_level + b"\xf0\x00\xfc"
    # chroma_format_idc, bit_depth_luma_minus8, bit_depth_chroma_minus8
    head += bytes([0xFC | sps.chroma, 0xF8 | (sps.luma_bits - 8), 0xF8 | (sps.chroma_bits - 8)])
    # avgFrameRate and constantFrameRate unknown, then numTemporalLayers, temporalIdNested,
    # lengthSizeMinusOne, numOfArrays
    head += b"\0\0" + bytes([sps.layers << 3 | sps.nested << 2 | 3, 3])
    arrays = [  # array_completeness, NAL_unit_type; numNalus; nalUnitLength, nalUnit
        bytes([0x80 | kind]) + encode_parameter_sets(nals, count_bytes=2, max_count=255) for kind, nals in by_kind
    ]
    return head + b"".join(arrays)
