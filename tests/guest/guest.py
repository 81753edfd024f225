"""The emulated box: qemu, a shell in it over a serial line, and the gateway that runs there against an endpoint on the host.

What the endpoint holds is asked of the endpoint, never of the gateway. Everything started here is ended here, by its id.
"""

import asyncio
import base64
import json
import os
import shlex
import time
import urllib.request

KEY = '00112233445566778899aabbccddeeff' * 2
CONFIG = '/etc/wardline.toml'


class Failed(Exception):
    """What was waited for did not happen, or a command failed."""


class Endpoint:
    """The lab's FHIR endpoint, as a process on the host, over TLS."""

    async def start(self, binary, folder):
        self.ca = f'{folder}/ca.pem'
        self.process = await asyncio.create_subprocess_exec(
            binary, 'lab', 'endpoint', '--tls', '--ca-file', self.ca, '--keep', stdout=asyncio.subprocess.PIPE)
        line = json.loads(await asyncio.wait_for(self.process.stdout.readline(), 30))
        self.url, self.control = line['fhir'].replace('127.0.0.1', 'localhost'), line['control']
        self.before = 0

    def counts(self):
        with urllib.request.urlopen(self.control + '/counts', timeout=10) as answer:
            return json.load(answer)

    async def holds(self, more, patience, why):
        """Waits for so many more Observations than at the last look, each once; then looks whether any comes beside them."""
        want = self.before + more
        await until(f'{more} observations', lambda: self.counts()['observations'] >= want, patience, why)
        await asyncio.sleep(1)
        counts = self.counts()
        wrong = {k: counts[k] for k in ('duplicates', 'conflicts', 'unidentified', 'invalid') if counts[k]}
        if wrong or counts['observations'] != want:
            raise Failed(f"{counts['observations'] - self.before} observations, not {more}; {wrong}")
        self.before = want

    async def stop(self):
        self.process.terminate()
        await self.process.wait()


async def until(what, done, patience=60, why=None):
    """Waits for something; `done` may be a coroutine function."""
    since = time.monotonic()
    while True:
        found = done()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if time.monotonic() - since > patience:
            said = why() if why else ''
            if asyncio.iscoroutine(said):
                said = await said
            raise Failed(f'{what}: not within {patience} s {said}')
        await asyncio.sleep(0.2)


class Guest:
    """The box. Commands are run one after another."""

    def __init__(self, folder, artefacts, initrd):
        self.folder, self.artefacts, self.initrd, self.turn = folder, artefacts, initrd, asyncio.Lock()
        self.line, self.process, self.known = None, None, []

    async def boot(self, hci, patience=180):
        ready = asyncio.get_running_loop().create_future()

        async def attached(reader, writer):
            self.line = reader, writer
            while (await reader.readline()).strip() != b'READY':
                pass
            ready.set_result(None)

        server = await asyncio.start_unix_server(attached, f'{self.folder}/shell', limit=1 << 24)
        kernel = f'{self.artefacts}/kernel/boot'
        kernel = f'{kernel}/{next(n for n in os.listdir(kernel) if n.startswith("vmlinuz"))}'
        self.console = open(f'{self.folder}/console', 'wb')
        self.process = await asyncio.create_subprocess_exec(
            'qemu-system-aarch64', '-machine', 'virt,gic-version=3', '-accel', 'tcg', '-cpu', 'cortex-a53', '-smp', '1', '-m', '512',
            '-display', 'none', '-monitor', 'none', '-nodefaults', '-no-reboot', '-serial', 'stdio',
            '-chardev', f'socket,id=hci,path={hci}', '-device', 'pci-serial,chardev=hci,addr=4',
            '-chardev', f'socket,id=shell,path={self.folder}/shell', '-device', 'pci-serial,chardev=shell,addr=5',
            '-netdev', 'user,id=net,restrict=off', '-device', 'virtio-net-pci,netdev=net,romfile=',
            '-kernel', kernel, '-initrd', self.initrd, '-append', 'console=ttyAMA0 loglevel=3 panic=-1 mitigations=off',
            stdin=asyncio.subprocess.DEVNULL, stdout=self.console, stderr=self.console)
        ended = asyncio.create_task(self.process.wait())
        await asyncio.wait([ready, ended], timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        server.close()
        if not ready.done():
            raise Failed('the guest does not start')
        await self.sh(f'date -s @{int(time.time())}')

    async def sh(self, script, patience=120, check=True):
        """Runs a script there: its output, and its exit code if it is not checked."""
        async with self.turn:
            reader, writer = self.line
            writer.write(base64.b64encode(script.encode()) + b'\n')
            await writer.drain()
            answer = await asyncio.wait_for(reader.readline(), patience)
        words = answer.decode().split()
        if len(words) < 2 or words[0] != 'DONE':
            raise Failed(f'the guest is gone, at: {script}')
        code, output = int(words[1]), base64.b64decode(words[2] if len(words) > 2 else '').decode(errors='replace')
        if check and code:
            raise Failed(f'{script}: {code}\n{output}')
        return output if check else (output, code)

    async def put(self, path, text):
        await self.sh(f'echo {base64.b64encode(text.encode()).decode()} | base64 -d >{path} && chmod 600 {path}')

    # The gateway in it.

    async def configure(self, endpoint, peripherals):
        with open(endpoint.ca) as file:
            await self.put('/etc/ca.pem', file.read())
        await self.put('/etc/journal-key', KEY)
        devices = ''.join(f'[[device]]\nid = "{p.id}"\npatient = "Patient/p1"\n' for p in peripherals)
        await self.put(CONFIG, f'''[gateway]
id = "guest-box"
state = "/var/lib/wardline"
[journal]
key_file = "/etc/journal-key"
reserve_mib = 1
[[source]]
kind = "bluetooth"
name = "radio"
stream_period_s = 0
[[destination]]
kind = "fhir"
consent = "enrolment"
name = "centre"
url = "{endpoint.url}"
ca_file = "/etc/ca.pem"
idempotency = "conditional-create"
[[patient]]
reference = "Patient/p1"
{devices}''')

    async def start(self):
        await self.sh(f'wardline run --config {CONFIG} >>/tmp/wardline.log 2>&1 & echo $! >/run/wardline.pid')
        await until('the gateway', self.answers, 60, self.log)

    async def answers(self):
        return (await self.sh('wardline status --json', check=False))[1] == 0

    async def stop(self, signal='TERM'):
        await self.sh(f'p=$(cat /run/wardline.pid); kill -{signal} $p; while kill -0 $p 2>/dev/null; do sleep 0.1; done')

    async def cli(self, *words, check=True):
        return await self.sh('wardline ' + ' '.join(map(shlex.quote, words)), check=check)

    async def owns(self, peripheral):
        """Makes a device known to the gateway."""
        await self.cli('devices', 'add', peripheral.id, '--patient', 'Patient/p1', '--since', 'ever')

    async def status(self):
        return json.loads(await self.cli('status', '--json'))

    async def device(self, peripheral):
        devices = (await self.status())['radio']['devices']
        return next((d for d in devices if d['id'] == peripheral.id), {})

    async def why(self, peripheral):
        return ((await self.device(peripheral)).get('why') or {}).get('code')

    async def log(self):
        return await self.sh('tail -40 /tmp/wardline.log; tail -5 /tmp/bluetoothd.log')

    async def power_off(self):
        if self.process and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()
