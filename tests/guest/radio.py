"""The simulated radio: the guest's controller and virtual peripherals on one link, made with bumble.

The guest's kernel talks HCI over a serial line to one software controller; each peripheral has another one and bumble's host
stack. What a peripheral offers and has measured comes from the lab's table (`wardline lab peripherals`), the same one that the
fake BlueZ of the fast tests is built from. A value counts as sent when the link has confirmed it, as in a real device.
"""

import asyncio
import random
import struct
import time

from bumble import hci
from bumble.att import Attribute
from bumble.controller import Controller
from bumble.core import AdvertisingData, PhysicalTransport
from bumble.device import Device, DeviceConfiguration
from bumble.gatt import Characteristic, CharacteristicValue, Service
from bumble.host import Host
from bumble.link import LocalLink
from bumble.pairing import PairingConfig, PairingDelegate
from bumble.transport import open_transport

P = Characteristic.Properties
USES = {
    'notify': P.NOTIFY,
    'indicate': P.INDICATE,
    'read': P.READ,
    'read-write': P.READ | P.WRITE,
    'control': P.WRITE | P.INDICATE,
}
RACP = '2A52'


class Link(LocalLink):
    """bumble 0.0.236 labels every packet with its sender's random address; Linux connects from its public one."""

    def send_acl_data(self, sender_controller, destination_address, transport, data):
        connection = sender_controller.le_connections.get(destination_address)
        if transport != PhysicalTransport.LE or connection is None:
            return super().send_acl_data(sender_controller, destination_address, transport, data)
        if there := self.find_le_controller(destination_address):
            asyncio.get_running_loop().call_soon(there.on_link_acl_data, connection.self_address, transport, data)


class Chip(Controller):
    """As of Bluetooth 4: of anything newer bumble sends the old event of a connection, and a kernel waits for the new one.

    Signals are as loud as a random number says: bluetoothd says nothing of a device whose strength stays the same.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        F = hci.LeFeatureMask
        self.le_features &= ~(F.LL_PRIVACY | F.LE_EXTENDED_ADVERTISING | F.LE_PERIODIC_ADVERTISING)

    def send_hci_packet(self, packet):
        if isinstance(packet, hci.HCI_LE_Advertising_Report_Event):
            for report in packet.reports:
                report.rssi = random.randint(-75, -45)
        super().send_hci_packet(packet)


class Radio:
    """One link. Peripherals are added at any time."""

    def __init__(self, table):
        self.table, self.link, self.count, self.began = {p['kind']: p for p in table}, Link(), 1, time.monotonic()
        self.story = []

    async def open(self, socket):
        self.transport = await open_transport(f'unix-server:{socket}')
        source, sink = self.transport.source, self.transport.sink
        self.box = Chip('box', host_source=source, host_sink=sink, link=self.link, public_address='00:AA:01:00:00:01')

    def tell(self, *words):
        self.story.append(f'[{time.monotonic() - self.began:7.2f}] ' + ' '.join(map(str, words)))

    async def add(self, kind, **manners):
        self.count += 1
        peripheral = Peripheral(self, self.table[kind], self.count, **manners)
        await peripheral.device.power_on()
        await peripheral.wake()
        return peripheral


class Delegate(PairingDelegate):
    """The person at the device: reads its digits to us, or says yes."""

    def __init__(self, io, passkey):
        super().__init__(io)
        self.passkey = passkey

    async def generate_passkey(self):
        return self.passkey

    async def get_number(self):
        return self.passkey

    async def display_number(self, number, digits):
        pass

    async def compare_numbers(self, number, digits):
        return True


class Peripheral:
    """One device. `pairing`: None, 'just-works', or the six digits that it shows; `number`: of several of one kind.

    `hangs_up_after` so many values of a connection it ends the link; it waits `pace` seconds between two records of its memory; the value that it `swallows` counts as told and is not.
    """

    def __init__(self, radio, entry, index, values=None, pairing=None, hangs_up_after=None, swallows=None, pace=0.01, number=None):
        self.radio, self.entry, self.pairing, self.hangs_up_after = radio, entry, pairing, hangs_up_after
        self.swallows, self.pace, self.reported = swallows, pace, 0
        self.address = entry['address'] if number is None else f"{entry['address'][:-2]}{number:02X}"
        self.id, self.name = f'ble:{self.address}', entry['name']
        self.keep(values)
        self.sent, self.connections, self.paired, self.written, self.subscribed = 0, 0, 0, [], set()
        self.encrypted, self.link, self.pump = False, None, None
        c = Chip(f'{self.name} {index}', link=radio.link, public_address=f'00:AA:01:00:01:{index:02X}')
        host = Host()
        host.controller = c
        config = DeviceConfiguration(name=self.name, address=hci.Address(self.address), irk=bytes([index] * 16))
        config.advertising_interval_min = config.advertising_interval_max = 250
        self.device = Device(config=config, host=host)
        self.device.add_services(self.services())
        if pairing is not None:
            io = PairingDelegate.NO_OUTPUT_NO_INPUT if pairing == 'just-works' else PairingDelegate.DISPLAY_OUTPUT_ONLY
            key = 0 if pairing == 'just-works' else pairing
            mitm = pairing != 'just-works'
            config = PairingConfig(sc=True, mitm=mitm, bonding=True, delegate=Delegate(io, key))
            self.device.pairing_config_factory = lambda connection: config
        self.device.on(self.device.EVENT_CONNECTION, self.connected)

    def tell(self, *words):
        self.radio.tell(self.name, *words)

    def services(self):
        A = Attribute.Permissions
        by_service, self.characteristics = {}, {}
        reads, writes = A.READABLE, A.WRITEABLE
        if self.pairing == 'just-works':
            reads, writes = reads | A.READ_REQUIRES_ENCRYPTION, writes | A.WRITE_REQUIRES_ENCRYPTION
        elif self.pairing is not None:
            reads, writes = reads | A.READ_REQUIRES_AUTHENTICATION, writes | A.WRITE_REQUIRES_AUTHENTICATION
        for service, uuid, use in self.entry['gatt']:
            value = CharacteristicValue(
                read=lambda _, uuid=uuid: bytes.fromhex(self.entry['reads'].get(uuid, '')),
                write=lambda _, value, uuid=uuid: self.write(uuid, value),
            )
            # What everybody may know needs no bond.
            common = service in ('180F', '180A')
            c = Characteristic(uuid, USES[use], A.READABLE | A.WRITEABLE if common else reads | writes, value)
            c.on(c.EVENT_SUBSCRIPTION, lambda link, n, i, uuid=uuid: self.subscribe(uuid, link, n or i))
            self.characteristics[uuid] = c
            by_service.setdefault(service, []).append(c)
        return [Service(uuid, list(cs)) for uuid, cs in by_service.items()]

    def keep(self, values):
        """It has measured so many times by now."""
        self.values = [(v['uuid'], bytes.fromhex(v['hex'])) for v in self.entry['values'][:values]]
        self.readings = sum(v['readings'] for v in self.entry['values'][:values])

    # What a person does with it.

    async def wake(self):
        services = sorted({s for s, _, _ in self.entry['gatt']} - {'180F', '180A', '1805'})
        octets = b''.join(struct.pack('<H', int(s, 16)) for s in services)
        data = AdvertisingData([
            (AdvertisingData.FLAGS, bytes([6])),
            (AdvertisingData.INCOMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS, octets),
            (AdvertisingData.COMPLETE_LOCAL_NAME, self.name.encode()),
        ])
        await self.device.start_advertising(advertising_data=bytes(data), auto_restart=True)
        self.tell('awake')

    async def sleep(self):
        await self.device.stop_advertising()
        await self.hang_up()
        self.tell('asleep')

    async def hang_up(self):
        if self.link is not None:
            try:
                await self.link.disconnect()
            except Exception as e:
                self.tell('hangs up:', type(e).__name__)

    async def forget_bonds(self):
        await self.device.keystore.delete_all()
        # bumble would find the keys of the last pairing there.
        self.device.smp_manager.sessions.clear()
        self.tell('has forgotten its bonds')

    # What the box does with it.

    def connected(self, link):
        self.link, self.encrypted = link, False
        self.connections += 1
        self.subscribed.clear()
        self.tell('connected')

        def lost(reason):
            self.tell('disconnected', reason)
            if self.link is link:
                self.link = None
            if self.pump:
                self.pump.cancel()
                self.pump = None

        def encryption():
            self.encrypted = bool(link.encryption)

        def pairing(keys):
            self.paired += 1
            self.tell('paired')

        link.on(link.EVENT_DISCONNECTION, lost)
        link.on(link.EVENT_CONNECTION_ENCRYPTION_CHANGE, encryption)
        link.on(link.EVENT_PAIRING, pairing)
        link.on(link.EVENT_PAIRING_FAILURE, lambda reason: self.tell('pairing failed', reason))

    def subscribe(self, uuid, link, on):
        self.tell('subscribed' if on else 'unsubscribed', uuid)
        (self.subscribed.add if on else self.subscribed.discard)(uuid)
        if on and not self.entry['memory'] and self.pump is None:
            self.pump = asyncio.create_task(self.push(link))

    def write(self, uuid, value):
        self.tell('written', uuid, value.hex())
        self.written.append((uuid, bytes(value)))
        if uuid == RACP:
            asyncio.create_task(self.answer(self.link, bytes(value)))

    async def send(self, link, uuid, value):
        c = self.characteristics[uuid]
        if c.properties & P.INDICATE:
            # Returns when it is confirmed.
            await self.device.indicate_subscriber(link, c, value)
        else:
            await self.device.notify_subscriber(link, c, value)
        if self.link is not link:
            raise ConnectionError

    async def push(self, link):
        """Without being asked: what it has not told yet, oldest first."""
        told = 0
        while self.sent < len(self.values):
            uuid, value = self.values[self.sent]
            while uuid not in self.subscribed:
                await asyncio.sleep(0.02)
            if self.sent != self.swallows:
                await self.send(link, uuid, value)
            self.sent, told = self.sent + 1, told + 1
            if told == self.hangs_up_after:
                return await self.hang_up()
            await asyncio.sleep(0.02)
        self.tell('has told all')

    async def answer(self, link, request):
        try:
            await self.report(link, request)
        except ConnectionError:
            self.tell('the link broke while it told its memory')

    async def report(self, link, request):
        """A memory is asked: its records from a number on, then the answer."""
        at = 4 if self.values and self.values[0][0] == '2AA7' else 1
        match list(request):
            case [1 | 4, 1]:
                first = 0
            case [1 | 4, 3, 1, low, high]:
                first = low | high << 8
            case _:
                return await self.send(link, RACP, bytes([6, 0, request[0], 2]))
        records = [(u, v) for u, v in self.values if int.from_bytes(v[at:at + 2], 'little') >= first]
        if request[0] == 4:
            # A context is no record of its own.
            counted = sum(uuid != '2A34' for uuid, _ in records)
            return await self.send(link, RACP, bytes([5, 0]) + counted.to_bytes(2, 'little'))
        for told, (uuid, value) in enumerate(records, 1):
            await self.send(link, uuid, value)
            if told == self.hangs_up_after:
                self.hangs_up_after = None
                return await self.hang_up()
            await asyncio.sleep(self.pace)
        await self.send(link, RACP, bytes([6, 0, 1, 1 if records else 6]))
        self.reported += 1
        self.tell('reported', len(records))
