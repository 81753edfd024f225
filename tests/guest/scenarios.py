"""What happens to devices and radio, one after another on one booted box. Each ends with its readings counted at the endpoint.

A scenario takes a `Stage` and may leave its devices awake; they sleep before the next one. The order is that of the features:
reading, bonds, memories, then what breaks.
"""

from guest import Failed, until


class Stage:
    """The parts that scenarios play with."""

    def __init__(self, radio, guest, endpoint):
        self.radio, self.guest, self.endpoint, self.awake, self.number = radio, guest, endpoint, [], 0

    async def add(self, kind, **manners):
        """A device that the gateway knows, awake. Each has an address of its own, so that no bond is left from before."""
        self.number += 1
        peripheral = await self.radio.add(kind, number=self.number, **manners)
        self.awake.append(peripheral)
        await self.guest.owns(peripheral)
        return peripheral

    async def holds(self, readings, patience=90):
        await self.endpoint.holds(readings, patience, self.why)

    async def why(self):
        return await self.guest.sh('wardline status; wardline readings --limit 12; tail -30 /tmp/wardline.log; tail -5 /tmp/bluetoothd.log', check=False)

    async def pair(self, peripheral, *words):
        """As a person would: the output of the command, and whether it worked."""
        output, code = await self.guest.cli('devices', 'pair', peripheral.id, *words, check=False)
        self.radio.tell('pair:', code, output.replace('\n', ' | '))
        return output, code == 0

    async def refused(self, peripheral, code):
        await until(f'{code} of {peripheral.id}', lambda: self.says(peripheral, code), 90, self.why)

    async def says(self, peripheral, code):
        return await self.guest.why(peripheral) == code

    async def rest(self):
        for peripheral in self.awake:
            await peripheral.sleep()
        self.awake.clear()


def expect(so, what, found=''):
    if not so:
        raise Failed(f'{what} {found}')


async def a_thermometer_is_read(stage):
    thermometer = await stage.add('Thermometer', values=5)
    await stage.holds(thermometer.readings)

    async def known():
        device = await stage.guest.device(thermometer)
        return (device['battery'], device['model']) == (87, 'Lab')

    await until('battery and model', known, 30, stage.why)


async def a_value_that_is_lost_is_seen(stage):
    """The test of the test: a device that takes a value for told which it never sent."""
    thermometer = await stage.add('Thermometer', values=5, swallows=2)
    try:
        await stage.endpoint.holds(thermometer.readings, 10, None)
    except Failed:
        return await stage.holds(thermometer.readings - 1)
    raise Failed('nothing was missing')


async def a_meter_with_just_works_is_paired_and_its_link_is_encrypted(stage):
    meter = await stage.add('Glucometer', values=8, pairing='just-works')
    # Its profile says that a meter needs a bond: until there is one, it is not even connected to.
    await stage.refused(meter, 'WL-S063')
    expect(meter.connections == 0, 'connected without a bond')
    output, paired = await stage.pair(meter)
    expect(paired, 'not paired:', output)
    await stage.holds(meter.readings)
    # The bond holds: the next connection is encrypted without a question.
    before = meter.connections
    await meter.hang_up()
    await until('another connection', lambda: meter.connections > before and meter.encrypted, 60, stage.why)
    expect(meter.paired == 1, 'paired again')


async def a_passkey_is_typed(stage):
    meter = await stage.add('Glucometer', values=8, pairing=483_920)
    output, paired = await stage.pair(meter, '--passkey', '483920')
    expect(paired, 'not paired:', output)
    await stage.holds(meter.readings)
    log = await stage.guest.sh('cat /tmp/wardline.log')
    expect('483920' not in log, 'the passkey is in the log')


async def a_memory_whose_link_breaks_goes_on_where_it_stood(stage):
    meter = await stage.add('Glucometer', values=60, pairing='just-works', hangs_up_after=23)
    output, paired = await stage.pair(meter)
    expect(paired, 'not paired:', output)
    await stage.holds(meter.readings, 120)
    asked = [value.hex() for uuid, value in meter.written if uuid == '2A52']
    expect(asked[0] == '0401', 'how many was not asked first:', asked)
    asked = [a for a in asked if a.startswith('01')]
    expect(asked[0] == '0101', 'first asked', asked)
    expect(any(a.startswith('010301') and a != '0103010100' for a in asked[1:]), 'did not go on:', asked)


async def a_cuff_whose_link_breaks_sends_the_rest_later(stage):
    cuff = await stage.add('Cuff', values=9, hangs_up_after=4)
    await stage.holds(cuff.readings, 120)
    expect(cuff.connections >= 3, 'connections', cuff.connections)
    expect(any(uuid == '2A2B' for uuid, _ in cuff.written), 'its clock was not set')


async def in_mid_history(stage):
    """A bonded meter that is telling its memory, slowly."""
    meter = await stage.add('Glucometer', values=100, pairing='just-works', pace=0.1)
    output, paired = await stage.pair(meter)
    expect(paired, 'not paired:', output)
    await until('a request', lambda: any(uuid == '2A52' for uuid, _ in meter.written), 60, stage.why)
    return meter


async def bluetoothd_is_killed_in_mid_history(stage):
    meter = await in_mid_history(stage)
    await stage.guest.sh('kill -9 $(pidof bluetoothd)')
    expect(meter.reported == 0, 'its memory was told before')
    await stage.guest.sh('sleep 2; bluetooth-start')
    await stage.holds(meter.readings, 150)


async def a_wrong_passkey_pairs_nothing_and_the_next_may_be_right(stage):
    meter = await stage.add('Glucometer', values=5, pairing=111_222)
    output, paired = await stage.pair(meter, '--passkey', '999999')
    expect(not paired and meter.paired == 0, 'paired with a wrong passkey:', output)
    output, paired = await stage.pair(meter, '--passkey', '111222')
    expect(paired, 'not paired:', output)
    await stage.holds(meter.readings)


async def a_lost_bond_is_said_and_paired_again(stage):
    meter = await stage.add('Glucometer', values=5, pairing='just-works')
    output, paired = await stage.pair(meter)
    expect(paired, 'not paired:', output)
    await stage.holds(meter.readings)
    await meter.forget_bonds()
    await meter.hang_up()
    await stage.refused(meter, 'WL-S064')
    await stage.guest.cli('devices', 'forget', meter.id)
    output, paired = await stage.pair(meter)
    expect(paired, 'not paired again:', output)
    asked = len(meter.written)
    await until('a request', lambda: len(meter.written) > asked, 60, stage.why)
    await stage.holds(0)


async def a_glucose_sensor_with_a_passkey_is_read(stage):
    sensor = await stage.add('Sensor', values=40, pairing=7_531)
    output, paired = await stage.pair(sensor, '--passkey', '7531')
    expect(paired, 'not paired:', output)
    await stage.holds(sensor.readings)


async def what_each_kind_stored_while_the_box_was_away_comes_when_it_connects(stage):
    """Devices that indicate what they have stored, oldest first, whenever somebody subscribes; each link breaks in the middle."""
    kinds = ['Cuff', 'Thermometer', 'Scale', 'Oximeter']
    devices = [await stage.add(kind, values=12, hangs_up_after=5) for kind in kinds]
    await stage.holds(sum(device.readings for device in devices), 150)
    for device in devices:
        expect(device.connections >= 3, f'{device.name}: connections', device.connections)
        await device.sleep()
    before = sum(device.readings for device in devices)
    for device in devices:
        device.keep(19)
        await device.wake()
    # What was told is not told again, and nothing of the new is missing.
    await stage.holds(sum(device.readings for device in devices) - before, 150)
    for device in devices:
        expect(device.sent == 19, f'{device.name}: told', device.sent)


async def an_oximeter_is_asked_for_the_spot_checks_that_it_keeps(stage):
    oximeter = await stage.add('KeepingOximeter', values=20, hangs_up_after=7)
    await stage.holds(oximeter.readings, 120)
    await until('all were told', lambda: oximeter.reported >= 1, 60, stage.why)
    before, reported = oximeter.readings, oximeter.reported
    oximeter.keep(26)
    await oximeter.hang_up()
    await until('all were told again', lambda: oximeter.reported > reported, 120, stage.why)
    await stage.holds(oximeter.readings - before)
    asked = {value.hex() for uuid, value in oximeter.written if uuid == '2A52'}
    expect(asked == {'0401', '0101'}, 'asked', asked)


async def two_devices_at_once(stage):
    strap = await stage.add('HeartStrap', values=10)
    scale = await stage.add('Scale', values=6)
    await stage.holds(strap.readings + scale.readings, 120)


async def an_oximeter_is_read(stage):
    oximeter = await stage.add('Oximeter', values=6)
    await stage.holds(oximeter.readings)


async def the_gateway_is_killed_in_mid_history(stage):
    meter = await in_mid_history(stage)
    await stage.guest.stop('KILL')
    expect(meter.reported == 0, 'its memory was told before')
    await stage.guest.start()
    await stage.holds(meter.readings, 150)


SCENARIOS = [
    a_thermometer_is_read,
    a_value_that_is_lost_is_seen,
    a_meter_with_just_works_is_paired_and_its_link_is_encrypted,
    a_passkey_is_typed,
    a_memory_whose_link_breaks_goes_on_where_it_stood,
    a_cuff_whose_link_breaks_sends_the_rest_later,
    an_oximeter_is_read,
    a_glucose_sensor_with_a_passkey_is_read,
    what_each_kind_stored_while_the_box_was_away_comes_when_it_connects,
    an_oximeter_is_asked_for_the_spot_checks_that_it_keeps,
    two_devices_at_once,
    a_wrong_passkey_pairs_nothing_and_the_next_may_be_right,
    a_lost_bond_is_said_and_paired_again,
    the_gateway_is_killed_in_mid_history,
    bluetoothd_is_killed_in_mid_history,
]
