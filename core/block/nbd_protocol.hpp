// SPDX-License-Identifier: Apache-2.0
// The numbers of the NBD protocol (fixed newstyle, structured replies), as far as this server
// speaks it. https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
#pragma once

#include <cstdint>

namespace hyperhost::nbd {

constexpr uint64_t kMagic = 0x4e42444d41474943;        // NBDMAGIC
constexpr uint64_t kOptionMagic = 0x49484156454F5054;  // IHAVEOPT
constexpr uint64_t kOptionReplyMagic = 0x0003e889045565a9;
constexpr uint32_t kRequestMagic = 0x25609513;
constexpr uint32_t kSimpleReplyMagic = 0x67446698;
constexpr uint32_t kStructuredReplyMagic = 0x668e33ef;

constexpr uint16_t kFixedNewstyle = 1, kNoZeroes = 2;  // both sides' flags of the handshake

constexpr uint32_t kOptExportName = 1, kOptAbort = 2, kOptList = 3, kOptInfo = 6, kOptGo = 7,
                   kOptStructuredReply = 8, kOptListMetaContext = 9, kOptSetMetaContext = 10;

constexpr uint32_t kRepAck = 1, kRepServer = 2, kRepInfo = 3, kRepMetaContext = 4;
constexpr uint32_t kRepError = 1u << 31;
constexpr uint32_t kRepErrUnsupported = kRepError + 1, kRepErrInvalid = kRepError + 3,
                   kRepErrUnknown = kRepError + 6, kRepErrTooBig = kRepError + 9;

constexpr uint16_t kInfoExport = 0, kInfoName = 1, kInfoDescription = 2, kInfoBlockSize = 3;

constexpr uint16_t kHasFlags = 1, kReadOnly = 2, kSendFlush = 4, kSendFua = 8,
                   kSendWriteZeroes = 1 << 6, kSendDf = 1 << 7, kCanMultiConn = 1 << 8;

constexpr uint16_t kCmdRead = 0, kCmdWrite = 1, kCmdDisconnect = 2, kCmdFlush = 3,
                   kCmdWriteZeroes = 6, kCmdBlockStatus = 7;
constexpr uint16_t kFlagFua = 1, kFlagNoHole = 2, kFlagDf = 4, kFlagReqOne = 8;

constexpr uint16_t kChunkDone = 1;
constexpr uint16_t kChunkNone = 0, kChunkOffsetData = 1, kChunkBlockStatus = 5,
                   kChunkError = 0x8001;

constexpr uint32_t kEperm = 1, kEio = 5, kEinval = 22, kEnospc = 28, kEoverflow = 75,
                   kEshutdown = 108;

constexpr uint32_t kStateHole = 1, kStateZero = 2;
constexpr uint32_t kAllocationContext = 1;  // the number that this server gives base:allocation
constexpr const char* kAllocation = "base:allocation";

constexpr uint32_t kLongestString = 4096;  // of a name or a query, by the protocol
constexpr uint32_t kLongestOption = 64 << 10;
constexpr uint32_t kLongestPayload = 32 << 20;  // of a write; what clients may rely on

}  // namespace hyperhost::nbd
