"""usage: pictures.py HOUSE TO   Opens the links in HOUSE with Chromium, plays a technician, and keeps what is seen in TO."""

import asyncio
import base64
import json
import os
import sys
import tempfile

import websockets

SIZES = {'desktop': (1280, 900, 1, False), 'phone': (390, 844, 2, True)}


async def waited(read, what):
    for _ in range(3000):
        found = read()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.2)
    raise SystemExit(f'{what} did not come')


class Tab:
    def __init__(self, socket):
        self.socket, self.number = socket, 0

    async def do(self, method, **parameters):
        self.number += 1
        await self.socket.send(json.dumps({'id': self.number, 'method': method, 'params': parameters}))
        while True:
            answer = json.loads(await self.socket.recv())
            if answer.get('id') == self.number:
                return answer.get('result', {})

    async def js(self, words):
        result = await self.do('Runtime.evaluate', expression=words, awaitPromise=True)
        return result.get('result', {}).get('value')

    async def keep(self, path, whole=True):
        shot = await self.do('Page.captureScreenshot', format='png', captureBeyondViewport=whole)
        with open(path, 'wb') as file:
            file.write(base64.b64decode(shot['data']))


async def take(tab, name, link, to):
    width, height, scale, mobile = SIZES[name]
    await tab.do('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=scale, mobile=mobile)
    await tab.do('Page.enable')
    await tab.do('Page.navigate', url=link)
    await waited(lambda: tab.js("document.querySelectorAll('.device').length >= 4 && document.body.classList.contains('technician')"), 'the page')
    await asyncio.sleep(20 if name == 'desktop' else 2)
    await tab.keep(f'{to}/devices-{name}.png', False)
    await tab.js("document.querySelector('#strangers button[data-do=give]').click()")
    await asyncio.sleep(0.5)
    # Looked at, and not in the documents.
    await tab.keep(f'{to}/devices-give-{name}.png', False)
    await tab.js("document.getElementById('give').close()")
    await tab.js("[...document.querySelectorAll('#known .device')].find((d) => d.innerHTML.includes('WL-S063')).querySelector('[data-do=pair]').click()")
    await waited(lambda: tab.js("document.getElementById('pair').dataset.stage === 'enter'"), 'the question for digits')
    await tab.js("document.getElementById('pair-key').value = '483920'")
    await tab.keep(f'{to}/devices-passkey-{name}.png', False)
    await tab.js("document.querySelector('#pair .close').click()")
    await asyncio.sleep(3)


async def main(house, to):
    links = {}
    for name in SIZES:
        await waited(lambda: os.path.exists(f'{house}/{name}') and os.path.getsize(f'{house}/{name}'), 'the house')
        with open(f'{house}/{name}') as file:
            links[name] = file.read()
    with tempfile.TemporaryDirectory() as profile:
        browser = await asyncio.create_subprocess_exec(
            'chromium', '--headless=new', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--remote-debugging-port=0',
            f'--user-data-dir={profile}', 'about:blank', stderr=asyncio.subprocess.DEVNULL)
        try:
            port_file = f'{profile}/DevToolsActivePort'
            await waited(lambda: os.path.exists(port_file) and os.path.getsize(port_file), 'the browser')
            with open(port_file) as file:
                port = file.readline().strip()
            import urllib.request
            for name, link in links.items():
                request = urllib.request.Request(f'http://127.0.0.1:{port}/json/new?about:blank', method='PUT')
                with urllib.request.urlopen(request) as answer:
                    address = json.load(answer)['webSocketDebuggerUrl']
                async with websockets.connect(address, max_size=None) as socket:
                    await take(Tab(socket), name, link, to)
        finally:
            browser.terminate()
            await browser.wait()


asyncio.run(main(*sys.argv[1:]))
