"""usage: run.py BINARY INITRD ARTEFACTS [NAME...]   Boots the box and plays the scenarios (those whose name contains a NAME).

BINARY is the host's own build: it tells what the devices are, and is the endpoint. Ends with 1 if a scenario failed.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time

from guest import Endpoint, Guest
from radio import Radio
from scenarios import SCENARIOS, Stage

# Each may wait for minutes until it gives up.
MOST_FAILED = 3


async def main(binary, initrd, artefacts, *names):
    began = time.monotonic()
    table = json.loads(subprocess.run([binary, 'lab', 'peripherals'], check=True, capture_output=True).stdout)
    failed, played = [], 0
    with tempfile.TemporaryDirectory() as folder:
        radio, guest, endpoint = Radio(table), Guest(folder, artefacts, initrd), Endpoint()
        try:
            await endpoint.start(binary, folder)
            await radio.open(f'{folder}/hci')
            await guest.boot(f'{folder}/hci')
            await guest.configure(endpoint, [])
            await guest.start()
            print(f'the box is ready after {time.monotonic() - began:.0f} s', flush=True)
            stage = Stage(radio, guest, endpoint)
            for scenario in SCENARIOS:
                title = scenario.__name__
                if names and not any(name in title for name in names):
                    continue
                if len(failed) == MOST_FAILED:
                    print('the others are not played: too much fails', flush=True)
                    break
                since, played = time.monotonic(), played + 1
                radio.story.clear()
                try:
                    await asyncio.wait_for(scenario(stage), 240)
                    await stage.rest()
                    print(f'ok      {title} ({time.monotonic() - since:.0f} s)', flush=True)
                except Exception as e:
                    failed.append(title)
                    print(f'FAILED  {title}: {type(e).__name__} {e}\n' + '\n'.join(radio.story), flush=True)
                    print(await guest.log(), flush=True)
                    await stage.rest()
                    endpoint.before = endpoint.counts()['observations']
        except Exception as e:
            failed.append('the box')
            print(f'FAILED  {type(e).__name__} {e}', flush=True)
            with open(f'{folder}/console', errors='replace') as console:
                print(console.read()[-4000:], flush=True)
        finally:
            await guest.power_off()
            await endpoint.stop()
    print(f'{played} scenarios, {len(failed)} failed, in {time.monotonic() - began:.0f} s', flush=True)
    return 1 if failed or not played else 0


sys.exit(asyncio.run(main(*sys.argv[1:])))
