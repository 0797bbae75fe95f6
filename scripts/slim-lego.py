"""Copy the ACME client that Traefik is built with, without its providers of DNS.

usage: slim-lego.py [--go GO] DIRECTORY

They are 170 clients of as many companies, half of what there is to compile, and a gateway that
serves the tests on this machine asks for no certificate.
"""

import argparse
import runpy
import shutil
from pathlib import Path

MODULE, VERSION = "github.com/go-acme/lego/v4", "v4.33.0"
CHECKSUM = "h1:2KrRKieG+VczT4zvVXKAY7Tp/S3XLvh/QImofBALRAM="
NONE = """package dns

import (
	"errors"

	"github.com/go-acme/lego/v4/challenge"
)

func NewDNSChallengeProviderByName(name string) (challenge.Provider, error) {
	return nil, errors.New("built without " + name)
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--go", default="go", help="(%(default)s)")
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    fetch = runpy.run_path(str(Path(__file__).with_name("fetch-manifests.py")))["fetch"]
    source = fetch(options.go, MODULE, VERSION, CHECKSUM)
    shutil.rmtree(options.directory, ignore_errors=True)
    for file in source.rglob("*"):
        place = file.relative_to(source)
        # Deeper than providers/dns there is nothing but them.
        if file.is_dir() or (place.parts[:2] == ("providers", "dns") and len(place.parts) > 3):
            continue
        target = options.directory / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    dns = options.directory / "providers/dns"
    for file in dns.glob("*.go"):
        file.unlink()
    (dns / "providers.go").write_text(NONE)


if __name__ == "__main__":
    main()
