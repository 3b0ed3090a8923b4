#!/usr/bin/env python3
"""Opens reports in headless Chromium: axe-core must find no serious or critical violation at three
widths, and a page must ask for nothing but itself.

    axe.py AXE_MIN_JS REPORT.html…

Needs Chromium, and nothing of Python but its standard library. `just axe` fetches axe-core.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
from urllib.parse import unquote, urlsplit

WIDTHS = (375, 1280, 2000)
BLOCKING = {"serious", "critical"}
DEADLINE_S = 180
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
]
# The page itself forbids scripts; the copy that is examined doesn't, and differs in nothing else.
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
MARK = "axe-result"
# What Chromium asks for by itself, whatever page is open.
OWN_HOSTS = ("google.com", "googleapis.com", "gvt1.com", "gstatic.com")
# A page that must be found wanting in both ways: a check that can't turn red shows nothing.
BAD = """<!doctype html><html><head><meta http-equiv="Content-Security-Policy" content="img-src *">
<title>bad</title></head><body><img src="http://127.0.0.1:9/bad.png"><p style="color:#ccc">pale</p></body></html>"""
RUNNER = """
axe.run(document, {resultTypes: ['violations']}).then(
  found => ({violations: found.violations, passes: found.passes.length}),
  error => ({error: String(error)})
).then(result => {
  const out = document.createElement('script');
  out.type = 'application/json';
  out.id = '%s';
  out.textContent = encodeURIComponent(JSON.stringify(result));
  document.body.appendChild(out);
});
""" % MARK


def chromium(profile, *arguments):
    command = ["chromium", *QUIET, f"--user-data-dir={profile}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    return done.stdout


def violations(profile, axe, page, width):
    """What axe-core says of a page; a page of which it says nothing is an error."""
    copy = pathlib.Path(profile, "page.html")
    text, found = POLICY.subn("", page.read_text(encoding="utf-8"), count=1)
    if not found:
        sys.exit(f"{page}: it has no Content-Security-Policy")
    scripts = f"<script>{axe}</script><script>{RUNNER}</script>"
    copy.write_text(text.replace("</body>", scripts + "</body>"), encoding="utf-8")
    dom = chromium(
        profile, f"--window-size={width},1000", "--virtual-time-budget=60000", "--dump-dom", f"file://{copy}"
    )
    result = re.search(rf'<script type="application/json" id="{MARK}">([^<]*)</script>', dom)
    if not result:
        sys.exit(f"{page} at {width} px: axe-core gave no result")
    told = json.loads(unquote(result.group(1)))
    if "error" in told or not told["passes"]:
        sys.exit(f"{page} at {width} px: axe-core did not run: {told}")
    return told["violations"]


def requests(profile, page):
    """Addresses that loading the page asks for, the page itself left out."""
    log = pathlib.Path(profile, "net.json")
    chromium(profile, f"--log-net-log={log}", "--dump-dom", f"file://{page.resolve()}")
    text = log.read_text(encoding="utf-8")
    if '"constants"' not in text:
        sys.exit(f"{page}: Chromium wrote no log of its requests")
    asked = set(re.findall(r'"url":"((?:https?|wss?|ftp)://[^"]*)"', text))
    return sorted(url for url in asked if not urlsplit(url).hostname.endswith(OWN_HOSTS))


def can_turn_red(axe):
    with tempfile.TemporaryDirectory() as profile:
        page = pathlib.Path(profile, "bad.html")
        page.write_text(BAD, encoding="utf-8")
        if not requests(profile, page):
            sys.exit("a page that loads a picture was said to ask for nothing")
        found = {v["id"] for v in violations(profile, axe, page, WIDTHS[0])}
        if not {"image-alt", "color-contrast", "html-has-lang"} <= found:
            sys.exit(f"axe-core missed what is wrong on purpose: it found {sorted(found)}")


def examine(axe, page):
    """Prints what is wrong with a page, and gives the number of faults that count."""
    with tempfile.TemporaryDirectory() as profile:
        asked = requests(profile, page)
        for url in asked:
            print(f"✗ {page}: it asks for {url}")
        failed = len(asked)
        for width in WIDTHS:
            found = violations(profile, axe, page, width)
            bad = [v for v in found if v["impact"] in BLOCKING]
            for violation in found:
                sign = "✗" if violation in bad else "·"
                print(f"{sign} {violation['impact']}: {violation['id']}: {violation['help']}")
                for node in violation["nodes"][:5]:
                    print(f"    {node['html'][:160]}\n      {node['failureSummary'][:300]}")
            print(f"{'✗' if bad else '✓'} {page} at {width} px: {len(bad)} serious, {len(found) - len(bad)} other")
            failed += len(bad)
        return failed


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    axe = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
    can_turn_red(axe)
    sys.exit(1 if sum(examine(axe, pathlib.Path(page)) for page in sys.argv[2:]) else 0)


main()
