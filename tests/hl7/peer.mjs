// A receiver of HL7 v2 in Node: `node peer.mjs TOOLS PORT`. Prints `ready`, then each message as a line of JSON.
import { createRequire } from 'node:module'

const [tools, port] = process.argv.slice(2)
const { Server } = createRequire(`${tools}/hl7-node/`)('node-hl7-server')

// Messages in the frame that is being handled.
let together = 0
const inbound = new Server({ bindAddress: '127.0.0.1' }).createInbound({ port: Number(port) }, async (req, res) => {
  const text = req.getMessage().toString()
  const segments = text.split('\r').map(s => s.split('|'))
  let order
  const rows = []
  for (const s of segments) {
    if (s[0] === 'OBR') order = s[3].split('^')[0]
    if (s[0] === 'OBX' && (s[2] === 'NM' || s[2] === 'SN')) {
      const unit = s[6].split('^')
      rows.push({
        order, code: s[3].split('^')[0], value: s[5], unit: unit[0], ucum: unit[5] === 'UCUM' ? unit[3] : unit[2] === 'UCUM' ? unit[0] : '', status: s[11], time: s[14]
      })
    }
  }
  const message = req.getMessage()
  console.log(JSON.stringify({ id: message.get('MSH.10').toString(), patient: message.get('PID.3.1').toString(), rows, ...(together > 1 && { batch: together }) }))
  await res.sendResponse('AA')
})
inbound.on('data.raw', text => { together = text.split('\r').filter(s => s.startsWith('MSH')).length })
inbound.on('listen', () => console.log('ready'))
