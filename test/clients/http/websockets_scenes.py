# Python's websockets against wss://live.example: what is heard, as JSON. Arguments: port, CA file, `direct` or the forward proxy's URL.
import asyncio, json, socket, ssl, sys
import websockets

port, ca, proxy = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.create_default_context(cafile=ca)
uri = f"wss://live.example:{port}/live"


async def scenes():
    heard = {}
    # By address as hostAliases do it: the name stands in the handshake and in Host alone.
    way = {"proxy": proxy} if proxy != "direct" else {"proxy": None, "host": "127.0.0.1", "port": port}
    async with websockets.connect(uri, ssl=context, subprotocols=["v1", "v2"], max_size=None, **way) as ws:
        heard["subprotocol"] = ws.subprotocol
        heard["extensions"] = [str(one) for one in ws.protocol.extensions]
        await ws.send("grüße €")
        heard["text"] = await ws.recv()
        await ws.send([b"frag", b"mented"])
        heard["fragments"] = (await ws.recv()).decode()
        await ws.send(bytes(5_000_000))
        heard["large"] = len(await ws.recv())
        heard["ping"] = (await (await ws.ping("are you there"))) >= 0
        await ws.send("close 4321")
        try:
            await ws.recv()
        except websockets.ConnectionClosed as closed:
            heard["close"] = [closed.rcvd.code, closed.rcvd.reason]
    return heard


print(json.dumps(asyncio.run(scenes())))
