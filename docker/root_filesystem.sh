#!/bin/sh
# Lay out a root filesystem of just the named Debian packages under /rootfs: no package manager, and
# a shell only where one of the packages is a shell. Their records go to /var/lib/dpkg/status.d,
# where vulnerability scanners look.
set -eu

mkdir -p /rootfs/usr/bin /rootfs/usr/sbin /rootfs/usr/lib /rootfs/usr/lib64 \
  /rootfs/etc/ssl/certs /rootfs/var/lib/dpkg/status.d /rootfs/proc /rootfs/sys /rootfs/dev \
  /rootfs/home/finegate /rootfs/mnt/models /rootfs/app
mkdir -m 1777 /rootfs/tmp
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "/rootfs/$folder"; done

mkdir /packages
cd /packages
apt-get download "$@"
for package in *.deb; do
  dpkg-deb --fsys-tarfile "$package" | tar --extract --keep-directory-symlink --directory /rootfs
  dpkg-deb --field "$package" > "/rootfs/var/lib/dpkg/status.d/$(dpkg-deb --field "$package" Package)"
done

ln -s python3.11 /rootfs/usr/bin/python3

rm -rf /rootfs/usr/share/doc /rootfs/usr/share/man /rootfs/usr/share/lintian \
  /rootfs/usr/share/locale /rootfs/usr/lib/python3*/ensurepip /rootfs/usr/lib/python3*/pydoc_data \
  /rootfs/usr/lib/python3*/lib2to3
cp /etc/ssl/certs/ca-certificates.crt /rootfs/etc/ssl/certs/
ldconfig -r /rootfs
rm -rf /rootfs/var/cache/ldconfig
python3 -m compileall -q --invalidation-mode unchecked-hash /rootfs/usr/lib/python3*

printf 'root:x:0:0:root:/:/usr/sbin/nologin\nfinegate:x:65532:65532:finegate:/home/finegate:/usr/sbin/nologin\n' > /rootfs/etc/passwd
printf 'root:x:0:\nfinegate:x:65532:\n' > /rootfs/etc/group
printf 'hosts: files dns\n' > /rootfs/etc/nsswitch.conf
find /rootfs -xdev -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
