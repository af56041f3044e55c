/*
 * Which sanitizer this is built with, where code has to know: gcc and clang say it differently.
 */
#ifndef BASE_SANITIZERS_H
#define BASE_SANITIZERS_H

#ifdef __has_feature
#define SANITIZERS_HAS(feature) __has_feature(feature)
#else
#define SANITIZERS_HAS(feature) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || SANITIZERS_HAS(address_sanitizer)
#define SANITIZE_ADDRESS 1
#else
#define SANITIZE_ADDRESS 0
#endif

#if defined(__SANITIZE_THREAD__) || SANITIZERS_HAS(thread_sanitizer)
#define SANITIZE_THREAD 1
#else
#define SANITIZE_THREAD 0
#endif

#endif
