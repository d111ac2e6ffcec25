#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes a folder with what a wheel for another architecture is linked from: sysroot.sh arm64 FOLDER
#
# The packages are those of this machine's Debian release. Nothing is installed on this machine.
set -euo pipefail
arch=$1
root=$2
packages="libmlir-22-dev libmlir-22 llvm-22-dev libllvm22 llvm-22-linker-tools libz3-dev libz3-4 zlib1g-dev zlib1g
  libzstd-dev libzstd1 libxml2 libxml2-dev libstdc++-12-dev libstdc++6 libgcc-12-dev libgcc-s1 libc6-dev libc6
  linux-libc-dev"
mkdir -p "$root/state/lists/partial" "$root/state/cache/archives/partial" "$root/debs" "$root/var/lib/dpkg/info"
root=$(cd "$root" && pwd)
: >"$root/state/status"
options=(-o "APT::Architecture=$arch" -o "APT::Architectures::=$arch" -o "Dir::State::lists=$root/state/lists"
  -o "Dir::Cache=$root/state/cache" -o "Dir::State::status=$root/state/status" -o APT::Sandbox::User=root)
apt-get -qq "${options[@]}" update
# shellcheck disable=SC2086
(cd "$root/debs" && apt-get -qq "${options[@]}" download $packages)
: >"$root/var/lib/dpkg/status"
for package in "$root"/debs/*.deb; do
  dpkg-deb -x "$package" "$root"
  # So that dpkg-query knows whose the files are.
  name=$(dpkg-deb -f "$package" Package)
  dpkg-deb --fsys-tarfile "$package" | tar -t | sed 's/^\.//; s/\/$//; s/^$/\/./' >"$root/var/lib/dpkg/info/$name.list"
  { dpkg-deb -f "$package"; echo 'Status: install ok installed'; echo; } >>"$root/var/lib/dpkg/status"
done
# Debian's links to libraries are absolute; and the tools that the build runs are this machine's.
find "$root" -type l -lname '/*' -print | while read -r link; do
  ln -sfn "$root$(readlink "$link")" "$link"
done
rm -rf "$root/usr/lib/llvm-22/bin" "$root/debs" "$root/state"
ln -s /usr/lib/llvm-22/bin "$root/usr/lib/llvm-22/bin"
[ -e "$root/lib64" ] || [ ! -d "$root/usr/lib64" ] || ln -s usr/lib64 "$root/lib64"
