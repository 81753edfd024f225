"""Receivers of HL7 v2 that others wrote, for the tests: `peer.py hl7|hl7tls|hl7latin|hl7apy PORT FOLDER`, or `peer.py validate FILE...`.

Prints `ready` once it listens, then each message as a line of JSON: what its own parser makes of it. FOLDER holds
server.pem, server.key and ca.pem for `hl7tls`, which asks for a client's certificate.
"""
import asyncio
import json
import ssl
import sys

import hl7
import hl7.mllp
from hl7apy.mllp import AbstractErrorHandler, AbstractHandler, MLLPServer
from hl7apy.parser import parse_message


def tell(what):
    print(json.dumps(what), flush=True)


def ucum(unit):
    """Of the two codes of a unit (CWE.1 to 3, 4 to 6) the one of UCUM."""
    unit += [""] * (6 - len(unit))
    return next((unit[i] for i in (0, 3) if unit[i + 2] == "UCUM"), "")


def seen(text):
    """What the `hl7` package reads."""
    message = hl7.parse(text)
    order, rows = None, []
    for segment in message:
        name = str(segment[0])
        if name == "OBR":
            order = str(segment[3]).split("^")[0]
        if name == "OBX" and str(segment[2]) in ("NM", "SN"):
            rows.append({
                "order": order, "code": str(segment[3]).split("^")[0], "value": str(segment[5]),
                "unit": str(segment[6]).split("^")[0],
                "ucum": ucum(str(segment[6]).split("^")), "status": str(segment[11]), "time": str(segment[14]),
                "device": message.unescape(str(segment[18]).split("^")[0]),
            })
    patient = message.unescape(str(message.segment("PID")[3]).split("^")[0])
    return {"id": str(message.segment("MSH")[10]), "patient": patient, "person": person(message), "rows": rows}


def person(message):
    """Identifiers with who gave them, name, birth date and sex, as they are behind the escapes."""
    pid = message.segment("PID")
    field = lambda n: str(pid[n]) if len(pid) > n else ""
    parts = lambda text: [message.unescape(part) for part in text.split("^")]
    identifiers = [[cx[0], cx[3].split("&")[0], cx[4]] for cx in map(parts, field(3).split("~"))]
    return {"identifiers": identifiers, "name": parts(field(5)), "born": field(7), "sex": field(8)}


def answering(batch):
    """A batch with an acknowledgement of each message, that names the batch it answers."""
    acks = hl7.Batch(sequence=[message.create_ack() for message in batch], factory=hl7.Factory)
    acks.header, acks.trailer = acks.create_header(), acks.create_trailer()
    acks.header.assign_field(str(batch.header(11)), 12)
    acks.trailer.assign_field(str(len(batch)), 1)
    return acks


async def serve(port, context, encoding):
    async def converse(reader, writer):
        try:
            while not writer.is_closing():
                message = hl7.parse_hl7((await reader.readblock()).decode(reader.encoding))
                if isinstance(message, hl7.Batch):
                    for one in message:
                        tell(seen(str(one)) | {"batch": len(message)})
                    writer.writemessage(answering(message))
                else:
                    tell(seen(str(message)))
                    writer.writemessage(message.create_ack())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    start = hl7.mllp.start_hl7_server
    async with await start(converse, port=port, host="127.0.0.1", encoding=encoding, ssl=context) as server:
        print("ready", flush=True)
        await server.serve_forever()


def fault(text):
    """What is wrong with a message by hl7apy's tables, or nothing."""
    try:
        parse_message(text, find_groups=True).validate()
    except Exception as e:  # whatever it says
        return f"{type(e).__name__}: {e}"


def answer(text, code):
    head = text.split("\r")[0].split("|")
    return f"\x0bMSH|^~\\&|STRICT|LAB|||{head[6]}||ACK^R01^ACK|1|P|2.6\rMSA|{code}|{head[9]}\r\x1c\x0d"


class Strict(AbstractHandler):
    def reply(self):
        text = self.incoming_message
        wrong = fault(text)
        tell(seen(text) | {"fault": wrong})
        return answer(text, "AE" if wrong else "AA")


class Refuse(AbstractErrorHandler):
    def reply(self):
        tell({"fault": str(self.exc)})
        return answer(self.incoming_message, "AR")


def main():
    kind, rest = sys.argv[1], sys.argv[2:]
    if kind == "validate":
        for name in rest:
            with open(name, "rb") as f:
                octets = f.read()
            # MSH-18.
            encoding = "iso-8859-1" if b"|8859/1|" in octets.split(b"\n")[0] else "utf-8"
            tell({"file": name, "fault": fault(octets.decode(encoding).replace("\n", "\r"))})
    elif kind == "hl7apy":
        server = MLLPServer("127.0.0.1", int(rest[0]), {"ORU^R01^ORU_R01": (Strict,), "ERR": (Refuse,)})
        print("ready", flush=True)
        server.serve_forever()
    else:
        context = None
        if kind == "hl7tls":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(f"{rest[1]}/server.pem", f"{rest[1]}/server.key")
            context.load_verify_locations(f"{rest[1]}/ca.pem")
            context.verify_mode = ssl.CERT_REQUIRED
        asyncio.run(serve(int(rest[0]), context, "iso-8859-1" if kind == "hl7latin" else "utf-8"))


main()
