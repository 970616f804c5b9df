#!/bin/sh
# Make the emulated 64-bit Arm machine of `edgeprune bench --device arm64`: Debian's Python and the
# aarch64 wheels of numpy and onnxruntime, unpacked into a folder (some 150 MB). Nothing is installed.
#
#   sh deploy/arm64.sh [FOLDER]      default: $EDGEPRUNE_HOME/arm64
#
# Needs: Debian or Ubuntu's apt-get and dpkg-deb, python3 with pip (or another, named by PYTHON), and
# to run it qemu-aarch64 (package qemu-user-static, or qemu-user).
set -eu
python=${PYTHON:-python3}
folder=${1:-${EDGEPRUNE_HOME:?name a folder, or set EDGEPRUNE_HOME}/arm64}
mkdir -p "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 143' HUP INT TERM  # then EXIT's
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/wheels"

# apt with lists of its own, so that the system's stay as they are
apt() {
  apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
    -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" "$@"
}
apt update
version=$(apt-cache -o APT::Architecture=arm64 -o APT::Architectures=arm64 \
  -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" depends python3-minimal |
  sed -n 's/.*Depends: python\(3\.[0-9]*\)-minimal/\1/p')
(cd "$work/archives" && apt download "python$version-minimal" "libpython$version-minimal" \
  "libpython$version-stdlib" libc6 libgcc-s1 libstdc++6 libexpat1 zlib1g libffi8 libssl3 \
  libbz2-1.0 liblzma5 libcrypt1 libuuid1)
rm -rf "$folder/root" "$folder/site"
mkdir -p "$folder/root" "$folder/site"
for package in "$work"/archives/*.deb; do dpkg-deb -x "$package" "$folder/root"; done

"$python" -m pip download -q --no-deps --only-binary=:all: --python-version "$version" \
  --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
  --platform manylinux2014_aarch64 -d "$work/wheels" numpy onnxruntime
for wheel in "$work"/wheels/*.whl; do
  "$python" -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extractall(sys.argv[2])' \
    "$wheel" "$folder/site"
done

# onnxruntime asks /proc/cpuinfo; qemu before 8 shows the guest the host's, which it cannot read
mkdir -p "$folder/root/proc"
for core in 0 1 2 3; do
  printf 'processor\t: %s\nBogoMIPS\t: 108.00\n' "$core"
  printf 'Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid\n'
  printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n'
  printf 'CPU part\t: 0xd08\nCPU revision\t: 3\n\n'
done >"$folder/root/proc/cpuinfo"
ln -sf "python$version" "$folder/root/usr/bin/python3"
echo "$folder is ready: edgeprune bench --device arm64"
