"""A camera by GStreamer's RTSP server, which plays a file once. Runs on the system's Python, which has `gi`.

It prints its port once it accepts connections. CAMERA_PASSWORD is the password of "viewer"; without it there
is no authentication.
"""
# `gi` is defined at run time, and is not in the development environment:
# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false

import argparse
import os

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402  # require_version must come first

PAYLOADERS = {
    "h264": "h264parse config-interval=-1 ! rtph264pay aggregate-mode=zero-latency",
    "hevc": "h265parse config-interval=-1 ! rtph265pay aggregate-mode=zero-latency",
}
LOWER_TRANSPORTS = {"both": GstRtsp.RTSPLowerTrans.TCP | GstRtsp.RTSPLowerTrans.UDP, "udp": GstRtsp.RTSPLowerTrans.UDP}
USER, ROLE = "viewer", "may-watch"


def make_auth(scheme: str, password: str) -> GstRtspServer.RTSPAuth:
    token = GstRtspServer.RTSPToken()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, ROLE)
    auth = GstRtspServer.RTSPAuth()
    if scheme == "basic":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(USER, password), token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(USER, password, token)
    return auth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="an MP4 file")
    parser.add_argument("--codec", choices=PAYLOADERS, default="h264")
    parser.add_argument("--carrier", choices=LOWER_TRANSPORTS, default="both")
    parser.add_argument("--scheme", choices=["basic", "digest"], default="digest")
    arguments = parser.parse_args()

    Gst.init(None)
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(
        f'( filesrc location="{arguments.file}" ! qtdemux ! {PAYLOADERS[arguments.codec]} name=pay0 pt=96 )'
    )
    factory.set_shared(True)
    factory.set_protocols(LOWER_TRANSPORTS[arguments.carrier])
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    password = os.environ.get("CAMERA_PASSWORD")
    if password:
        server.set_auth(make_auth(arguments.scheme, password))
        rights = f"{ROLE},media.factory.access=true,media.factory.construct=true"
        factory.add_role_from_structure(Gst.Structure.new_from_string(rights))
    server.get_mount_points().add_factory("/cam", factory)
    if not server.attach(None):
        raise OSError("GStreamer's server takes no port")
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
