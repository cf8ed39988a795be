"""A server with TLS on this machine, with a certificate made for it."""

import ssl

import trustme
from aiohttp import web


class Server:
    """Answers with ``handler``, an asynchronous function; one whose client leaves is cancelled."""

    def __init__(self, handler):
        self._handler = handler
        #: ``https://127.0.0.1:PORT``
        self.address = None
        #: PEM of who signed its certificate.
        self.authority = None

    async def start(self):
        """Listen."""
        authority = trustme.CA()
        self.authority = authority.cert_pem.bytes()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self._runner = web.ServerRunner(web.Server(self._handler, handler_cancellation=True, access_log=None),
                                        shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.address = "https://{}:{}".format(*self._runner.addresses[0][:2])

    async def stop(self):
        """End all connections."""
        await self._runner.cleanup()
