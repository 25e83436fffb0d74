#!/bin/sh
# The tests of this folder with the QGIS of Debian 13 (3.40), in a chroot. Run as root, from the project's root:
#
#     tests/gis/trixie.sh DIR PYTHON
#
# DIR is made with debootstrap where it is not there (2.5 GB); PYTHON is the one that hsimap is installed for.
set -eu
mkdir -p "$1"
root=$(cd "$1" && pwd -P)
python=$2
here=$(pwd -P)
scratch=${TMPDIR:-/tmp}
if [ ! -e "$root/ready" ]; then
    [ -e "$root/usr/bin/dpkg" ] || debootstrap --variant=minbase trixie "$root"
    chroot "$root" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends qgis python3-qgis
    touch "$root/ready"
fi
leave() {
    for place in $mounted; do umount "$place"; done
}
mounted=
trap leave EXIT
mkdir -p "$root/proc"
mount -t proc proc "$root/proc" && mounted="$root/proc"
for place in "$here" "$scratch"; do
    mkdir -p "$root$place"
    mount --bind "$place" "$root$place" && mounted="$root$place $mounted"
done
HSIMAP_QGIS="chroot $root /usr/bin/python3" "$python" -m pytest -q -m gis tests/gis
