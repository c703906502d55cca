"""BitTorrent with libtorrent: a seed, and a peer that is told where the seed is.

    torrent.py seed TORRENT ADDRESS FOLDER
    torrent.py fetch TORRENT ADDRESS FOLDER

Version 2 of the protocol, whose pieces have SHA-256.
"""

import os
import sys
import time

try:
    import libtorrent
except ImportError:
    sys.exit("libtorrent is not installed for this python3")

ROLE, TORRENT, ADDRESS, FOLDER = sys.argv[1:]
HOST, PORT = ADDRESS.split(":")


def session(interface):
    return libtorrent.session(
        {
            "listen_interfaces": interface,
            "enable_dht": False,
            "enable_lsd": False,
            "enable_upnp": False,
            "enable_natpmp": False,
            "enable_incoming_utp": False,
            "enable_outgoing_utp": False,
            "allow_multiple_connections_per_ip": True,
            "alert_mask": libtorrent.alert.category_t.status_notification,
        }
    )


def parameters():
    about = libtorrent.add_torrent_params()
    about.ti = libtorrent.torrent_info(TORRENT)
    about.save_path = FOLDER
    # The files are in the folder itself, whatever a torrent calls it.
    paths = [about.ti.files().file_path(index) for index in range(about.ti.num_files())]
    about.renamed_files = {
        index: os.path.join(FOLDER, os.path.basename(path)) for index, path in enumerate(paths)
    }
    return about


def seed():
    files = libtorrent.file_storage()
    libtorrent.add_files(files, FOLDER)
    torrent = libtorrent.create_torrent(files, flags=libtorrent.create_torrent.v2_only)
    libtorrent.set_piece_hashes(torrent, os.path.dirname(FOLDER))
    with open(TORRENT, "wb") as file:
        file.write(libtorrent.bencode(torrent.generate()))
    about = parameters()
    about.flags |= libtorrent.torrent_flags.seed_mode
    seeding = session(ADDRESS)
    handle = seeding.add_torrent(about)
    while handle.is_valid():
        time.sleep(3600)


def fetch():
    fetching = session("127.0.0.1:0")
    handle = fetching.add_torrent(parameters())
    handle.connect_peer((HOST, int(PORT)))
    while not handle.status().is_seeding:
        fetching.wait_for_alert(100)
        fetching.pop_alerts()


{"seed": seed, "fetch": fetch}[ROLE]()
